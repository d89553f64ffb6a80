"""What passes between the three programs, and nothing else.

Belongs here: message types with their bounds, the key space, the token, the error document.
Does not: sockets, files, clocks, retries, or a decision of one program.
May call: everybody. May be called by this: the standard library, msgspec, joserfc, cryptography, xxhash.

Every document carries ``contract``: the version its writer spoke. A reader accepts its own
version and every older one listed here.

History
    1  2026-11-21  the first: catalog, plan, fleet, heartbeat, steer, ingest, token, enrol
"""

from typing import Final

VERSION: Final = 1
