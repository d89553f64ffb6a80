"""Our demand cache beside published policies: the same traces, the same bytes, one table.

    traces     who asks for what: synthetic, or from a file
    policies   ours and the peers' (libcachesim), each behind one function
    cost       what a touch of ours costs, in time and memory
    __main__   the tables

How to read them: bench/demand/README.md.
"""
