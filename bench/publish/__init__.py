"""What the per-title ladder saves beside the ladder's own rates, and what it costs in quality."""
