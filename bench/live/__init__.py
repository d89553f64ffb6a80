"""A live stream through two tiers: a real packager, an origin that counts, players that follow its playlists.

`packager` is ffmpeg, `origin` serves and counts what it writes, `players` follow HLS and DASH. tests/component/oca uses
the same parts. What is measured and how: bench/README.md.
"""
