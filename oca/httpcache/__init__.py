"""What RFC 9111 says of a request and a response: pure, so that both processes of an appliance decide alike.

    fields        lists of header fields; which of them end at this hop
    dates         HTTP dates, read tolerantly
    cachecontrol  Cache-Control, CDN-Cache-Control (RFC 9213), Surrogate-Control
    policy        may it be stored, is it fresh, may it be reused for this request, what a 304 changes
    vary          whether a stored response was selected by a request like this one (section 4.1)
    precondition  If-None-Match and If-Modified-Since against a stored response (section 4.3.2)
    target        a request target to a cache key, and to the origin that has it
    forward       the request as it goes on upstream
    messages      what the two processes say to one another of all this

Belongs here: decisions. Does not: a socket, a file or a clock; time is passed in, in seconds since 1970.
"""
