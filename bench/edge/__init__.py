"""One edge worker beside its peers: the same files, the same requests, the same duties, in turns.

    content     the files, and the requests that are made for them
    servers     a server under test; an appliance of ours
    nginx varnish trafficserver    the peers
    load        starts a load program on the other core
    bystanders  what others took of the machine meanwhile
    __main__    the tables, one after the other

    table       what it says                                     its load
    requests    requests per CPU-second                          client
    cold        hot requests beside readers of a cold disk       beside
    players     an audience of 20,000: stalls, memory            audience
    pacing      bursts on a line with pacing and without         line (the network), household (the players)
    workers     two workers on two cores beside one              client

A load program prints a result or ends with a wrong answer, which ends the bench: no figure stands for
bytes that were not those of the file. How to read the tables: bench/README.md.
"""
