"""Steering: picks the best appliances for each playback and signs the URLs.

    prefixes  which site announces a client's address            (pure)
    health    what an appliance is taken for, as one table       (pure)
    budget    how many questions a caller may ask                (pure)
    snapshot  the fleet as one decision sees it
    rank      the candidates, in order, each with its reason     (pure)
    content   what exists and who shall hold it, read from S3
    fleet     what heartbeats said
    keys, tokens   the signing key, the API keys, signed URLs
    sessions, api  the HTTP side

Belongs here: deciding. Does not: a byte of media. Every answer comes from memory.
"""
