"""One edge worker beside its peers: the same files, the same requests, the same duties, in turns.

    content   the files, and the requests that are made for them
    servers   a server under test; an appliance of ours
    nginx     a tuned nginx
    load      starts a load program on the other core
    client    the load of the first table; reads the servers' CPU time while it runs
    requests  the first table: requests per CPU-second
    __main__  the tables, one after the other

The figure of the first table is requests per CPU-second of the whole server (all of its processes,
from ``/proc/PID/stat``), so a client that cannot saturate the server does not flatter it.
"""
