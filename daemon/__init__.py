"""How any of our programs is configured, speaks, is watched and stops. No word of content delivery.

May call: everybody. May be called by this: the standard library, msgspec, pyyaml, rich.
"""
