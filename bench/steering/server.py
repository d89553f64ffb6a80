"""The real service with the planet's fleet in memory: ``python -m bench.steering.server FOLDER SIZE CORE [NATS]``.

What it has not is a bucket and a fleet file of 17,000 appliances: content and routes are those of
`bench.steering.planet`. It prints one line of JSON when it listens, and one more for each line that it is told:
the longest turn of its event loop since the line before.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import OKPKey

from bench.steering.planet import Size, view_of
from daemon.s3 import S3Config
from steering import serve
from steering.api import Api
from steering.apikeys import load_api_keys
from steering.config import Config, Store
from steering.content import Content, ContentReader
from steering.keys import Paths, Signer, load_public, make
from steering.manifests import Manifests

KEYS = 64
"""Appliances share them: what a signature takes to verify is the same."""


def private_key(number: int) -> OKPKey:
    """The same in each process."""
    raw = Ed25519PrivateKey.from_private_bytes((number + 1).to_bytes(32, "big"))
    encoded = [raw.private_bytes_raw(), raw.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)]
    d, x = (_text(item) for item in encoded)
    return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": x, "d": d})


def _text(raw: bytes) -> str:
    import base64

    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


_LOOK_S = 0.005


class _Kept(ContentReader):
    """Nothing ever changes in the bucket."""

    def __init__(self) -> None:
        """No client."""

    def read(self, known: Content, appliances: Any) -> Content:
        return known


async def _no_manifest(key: str) -> bytes:
    raise KeyError(key)


async def _watch() -> None:
    """Looks every five milliseconds how long it was kept waiting for that; more often would be a load of its own."""
    worst_s = 0.0

    def told() -> None:
        nonlocal worst_s
        if sys.stdin.readline():
            print(json.dumps({"stall_ms": worst_s * 1e3}), flush=True)
            worst_s = 0.0

    asyncio.get_running_loop().add_reader(sys.stdin, told)
    while True:
        began = time.monotonic()
        await asyncio.sleep(_LOOK_S)
        worst_s = max(worst_s, time.monotonic() - began - _LOOK_S)


def main() -> None:
    folder, size, core = Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=Size), int(sys.argv[3])
    os.sched_setaffinity(0, {core})
    paths = Paths(folder)
    given = folder / "key"
    if not given.exists():
        given.write_text(str(make(paths, new_api_key=True)))
    key = given.read_text()
    sock = socket.create_server(("127.0.0.1", 0), backlog=4096)
    port = sock.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    store = Store("nats", tuple(sys.argv[4:])) if sys.argv[4:] else Store()
    config = Config(
        "-", S3Config("none"), url, f"127.0.0.1:{port}", str(folder), requests_per_s=1e6, store=store
    )
    began = time.monotonic()
    view = view_of(size, [str(private_key(number).as_dict(private=False)["x"]) for number in range(KEYS)])
    signer = Signer.load(paths)
    api = Api(
        config, view, signer, load_api_keys(paths.api_keys), Manifests(_no_manifest), load_public(paths)
    )
    gc.collect()
    gc.freeze()
    ready_s = round(time.monotonic() - began, 1)
    print(json.dumps({"port": port, "key": key, "made_s": ready_s}), flush=True)

    sys.setswitchinterval(serve._SWITCH_S)

    async def both() -> None:
        watching = asyncio.create_task(_watch())
        await serve._run(config, api, _Kept(), sock)
        watching.cancel()

    uvloop.run(both())


if __name__ == "__main__":
    main()
