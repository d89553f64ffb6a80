"""Steering: picks the best appliances for each playback and signs the URLs.

    prefixes  which announced prefixes hold an address           (pure)
    routes    which site announces what, and how well            (pure)
    health    what an appliance is taken for, as one table       (pure)
    load      what it carries, and what it was given since       (pure)
    holdings  what it holds, as bits                             (pure)
    budget    how many questions a caller may ask                (pure)
    snapshot  the fleet as one decision sees it                  (pure)
    rank      the candidates, in order, each with its reason     (pure)
    spread    between those that are equally near                (pure)
    sessions  who was answered lately, and where it plays        (pure)
    content   what exists and who shall hold it, read from S3
    roster    the fleet file, made ready
    announced, fleet   what the fleet says of itself, as it changes
    keys      the signing key, the API keys, signed URLs
    answering from a question to its answer
    request   what a caller sent, within bounds
    report, metrics, openapi   what is said beside candidates
    fastpath, asker, startqueue, beatqueue   starts and heartbeats, thousands a second, and who goes first
    api, serve, cli            the HTTP side, the process, the commands

Belongs here: deciding. Does not: a byte of media. Every answer comes from memory.
"""
