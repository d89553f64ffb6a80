"""One edge worker beside nginx: the same files, the same requests, the same duties, in turns.

    content   the files, and the requests that are made for them
    servers   an appliance and a tuned nginx, each with one worker pinned to one core
    client    the load, pinned to the other core; reads the servers' CPU time while it runs
    __main__  the rounds and the table

The figure is requests per CPU-second of the whole server (all of its processes, from
``/proc/PID/stat``), so a client that cannot saturate the server does not flatter it.
"""
