"""Which clients an appliance serves, learnt from the ISP's router over BGP.

A process of its own (`oca bgp`), so that what a router sends is read by nobody who serves players:

    router --BGP--> exabgp --JSON lines--> relay --socket--> oca bgp --socket--> storekeeper --> heartbeats

Nothing is ever announced, and nothing listens: we call the router. Belongs here: the session, what is
refused of what it says, and the routes that remain. Does not: what steering makes of them.
May call: `contracts`, `daemon`. May be called by: `oca.cli`, `oca.doctor`, the storekeeper (`feed`, `status`).
"""
