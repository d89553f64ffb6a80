"""The fill beside s5cmd, and what it costs those who are being served meanwhile."""
