"""Thousands of players ask for one file that a cache does not have: what its upstream sees, and what they get.

content   the file, in S3 with a catalog and in a folder
relay     a process before the upstream that counts what it sends, and holds it to a rate
players   a process of players; every byte is hashed
servers   ours, nginx and Varnish, each with an empty cache
measure   one row: a server, its players, what happens to them meanwhile
"""
