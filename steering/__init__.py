"""Steering: picks the best appliances for each playback and signs the URLs.

    prefixes  which site announces a client's address            (pure)
    health    what an appliance is taken for, as one table       (pure)
    budget    how many questions a caller may ask                (pure)
    snapshot  the fleet as one decision sees it                  (pure)
    rank      the candidates, in order, each with its reason     (pure)
    sessions  who was answered lately                            (pure)
    content   what exists and who shall hold it, read from S3
    fleet     the fleet file, and what heartbeats said
    keys      the signing key, the API keys, signed URLs
    request   what a caller sent, within bounds
    report, metrics, openapi   what is said beside candidates
    api, serve, cli            the HTTP side, the process, the commands

Belongs here: deciding. Does not: a byte of media. Every answer comes from memory.
"""
