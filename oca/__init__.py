"""The appliance: answers players' range requests from its disks, pulls what it lacks from upstream.

    oca serve (supervisor)
     ├─ edge worker x N   oca.edge: parse, authorise, locate, send; owns no state that matters
     └─ storekeeper x 1   oca.store: the only writer; index, pull-through, ingest, admin, heartbeat

`oca.edge` and `oca.store` are separate processes that share the disks and the messages of `oca.ipc`.
"""
