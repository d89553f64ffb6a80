"""The storekeeper: the only process that writes the disks, so nothing here needs a lock.

Belongs here: what is on the disks, what is let in and out, fetching from upstream, the ingest and
edge-link servers. Does not: a player's request, a byte on its way to a player.
Talks to edge workers through `oca.ipc`, to the fill agent through `contracts.ingest`.

    disks      one disk: identity, room, the files on it
    incomplete one object on its way in: its file and its verified slices
    index      what is complete; which of it the plan pins, and what of the rest goes first
    demand     the rest, on one disk: in queues by how often it was asked for
    reuse      how soon what is like it was asked for again, as learned
    watermarks room made ahead, in the background
    heat       how often each object was asked for of late, be it here or not
    joining    a disk is probed and counted, at the start and when it comes back
    diskstate  what may happen to a disk: states, events, the table
    disklist   which disks there are: the configuration, and what `oca disks` changed since
    operations what an operator does to disks while they serve
    place      where a new object goes, and what goes for it
    tiering    what moves between flash and bulk by itself
    mover      complete objects, from one disk to another
    store      the operations on these, each of which leaves all of them true
    doubt      objects that must not be served, though their files are there; their quarantine
    scan       what is on a disk, read from the disk itself
    snapshot   the index of a disk, left on it by a clean end (leaving), compared with it after the start (settle)
    scrub      one disk read again slowly, slice by slice; scrubber: all of them, and what becomes of rot
    catalog    what exists at the origin, as far as it was read
    upstream   one parent or the origin: bytes of an object, or a named failure
    pull       misses: each slice is fetched once, whoever asks
    shared     responses of HTTP origins: fresh, collapsed, validated, passed through
    sharedask, sharedfetch    one client's question; one request upstream
    sharedstore, sharedindex, sharedfiles    what is stored of them, and where
    httporigin, httpclient    whom to ask, and how
    ingest     the fill agent's door
    edgelink   the edge workers' door
"""
