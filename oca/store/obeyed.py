"""Whose catalogs this appliance believes, and which one it obeyed last: remembered over a restart."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import msgspec

from contracts.inforce import InForce
from contracts.signature import SignatureKeys
from daemon.durable import replace_file, sync_folder
from daemon.keyfiles import load_public
from daemon.log import event
from oca.config import Config

log = logging.getLogger("oca.store.catalog")

_FILE_NAME: Final = "catalog.json"


class Obeyed:
    """``keys`` None believes anybody, and then nothing is remembered."""

    def __init__(self, keys: SignatureKeys | None, path: Path) -> None:
        self.keys = keys
        self._path = path
        self.word = _recalled(path) if keys is not None else None

    @classmethod
    def of(cls, config: Config) -> Obeyed:
        """Raises `ConfigError`."""
        return cls(catalog_keys(config), Path(config.state_dir) / _FILE_NAME)

    def remember(self, word: InForce) -> None:
        """Blocking: for a thread. Raises OSError; then ``word`` is not to be obeyed."""
        if self.keys is not None and word != self.word:
            replace_file(self._path, msgspec.json.encode(word), mode=0o640)
            sync_folder(self._path.parent)
            self.word = word


def catalog_keys(config: Config) -> SignatureKeys | None:
    """The publisher's public keys; None in a lab without. Raises `ConfigError`."""
    if config.catalog_key is None:
        return None
    return load_public(Path(config.catalog_key), SignatureKeys.from_jwks, named="catalog_key")


def _recalled(path: Path) -> InForce | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=InForce)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        # As on a new appliance: the next that is signed is obeyed.
        event(log, "what was obeyed last not recalled", logging.ERROR, why=str(error))
        return None
