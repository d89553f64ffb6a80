"""Whether advising the kernel about the page cache helps: `python -m bench.pagecache`."""
