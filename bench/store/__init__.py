"""What a store of many objects costs: to rebuild, to start from a snapshot, to hold, to close.

disk      a disk full of small objects, in the true format
start     one start of a store in a process of its own, measured
"""
