"""The fleet file, made ready for decisions. Made aside and whole, so that it can be swapped in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from contracts.fleet import Appliance, Fleet, Site
from contracts.token import KeyRing, import_public
from daemon.config import ConfigError, load


@dataclass(frozen=True)
class Roster:
    fleet: Fleet
    keys: KeyRing
    """Of the file; what appliances enrolled stands above it (`steering.enrolment`)."""
    sites: dict[str, Site]
    appliances: dict[str, Appliance]
    site_of: dict[str, str]
    """The site's id, by that of the appliance."""

    @classmethod
    def of(cls, fleet: Fleet) -> Roster:
        """Raises ValueError on a public key that is none."""
        boxes = {box.id: box for site in fleet.sites for box in site.appliances}
        return cls(
            fleet,
            KeyRing(
                {
                    box.id: import_public(msgspec.to_builtins(box.public_key))
                    for box in boxes.values()
                    if box.public_key is not None
                }
            ),
            {site.id: site for site in fleet.sites},
            boxes,
            {box.id: site.id for site in fleet.sites for box in site.appliances},
        )

    @classmethod
    def read(cls, path: Path) -> Roster:
        """From the fleet file; raises `ConfigError`. Slow: seconds for 17,000 appliances."""
        fleet = load(path, Fleet)
        try:
            return cls.of(fleet)
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from None
