"""One edge worker: a request comes in, and whoever follows it never turns back.

    listener     accepts connections; the life of the process
    connection   one client: reads requests, writes answers, in order
    wire, tls    its bytes in and out, plain and encrypted
    repeat       a request that is known by heart, which skips the next two
    request      bytes to requests; refuses what is ambiguous
    authorise    target and token to an object key, or a refusal
    files        key to an open file, from the disks or by asking the storekeeper
    ranges       Range to spans of bytes            (pure)
    conditional  If-... to proceed, 304 or 412      (pure)
    answer       all of these to status, head, body (pure)
    delivery     one answer on its way out
    cold         whether a span is in memory, and bringing it there

    worker       what all connections share
    networks     what each client network takes; pacing: how fast it is sent to
    ledger       what is counted; cmcd: what players say; accesslog: a line for each request
    storelink    the line to the storekeeper

    For requests of HTTP origins, in place of files to delivery:
    shared       what this worker knows to be fresh; asks the storekeeper for the rest
    exchange     one such question, its body up and its answer down
    sharedanswer status, head, spans from a stored response     (pure)
    sharedfile, stream    a body that may still be growing, on its way out

Belongs here: what one player's request needs. Does not: anything that writes a disk, and any state
whose loss would matter: a worker may be killed at any moment.
"""
