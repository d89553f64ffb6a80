"""What is said about speed and memory, measured: each bench is a table of ratios against a named peer.

Both sides run in the same session, in turns, each pinned to a core; no test asserts a figure.
"""
