"""One edge worker: a request comes in, and whoever follows it never turns back.

    listener     accepts connections
    connection   one client: reads requests, writes answers, in order
    request      bytes to requests; refuses what is ambiguous
    authorise    target and token to an object key, or a refusal
    files        key to an open file, from the disks or by asking the storekeeper
    ranges       Range to spans of bytes            (pure)
    conditional  If-... to proceed, 304 or 412      (pure)
    answer       all of these to status, head, body (pure)
    cold         whether a span is in memory, and bringing it there
    storelink    the line to the storekeeper

Belongs here: what one player's request needs. Does not: anything that writes a disk, and any state
whose loss would matter: a worker may be killed at any moment.
"""
