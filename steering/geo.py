"""Where a client is, by the operator's GeoIP database, and how far that is. For clients that no site announces."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import maxminddb

from contracts.fleet import Location
from daemon.config import ConfigError
from steering.prefixes import Address, normalised

_EARTH_KM: Final = 6371.0


class GeoIp:
    """A database in MaxMind's format, with ``location`` as those of cities have it. It is read into memory."""

    def __init__(self, path: Path) -> None:
        """Raises `ConfigError`."""
        try:
            self._reader = maxminddb.open_database(str(path), maxminddb.MODE_MEMORY)
        except OSError as error:
            raise ConfigError(f"geoip: {path}: {error.strerror or error}") from None
        except (maxminddb.InvalidDatabaseError, ValueError) as error:
            raise ConfigError(f"geoip: {path}: not a MaxMind database: {error}") from None

    def locate(self, address: Address) -> Location | None:
        """None when the database does not know, or says what is no place on Earth."""
        try:
            found = self._reader.get(normalised(address))
        except (maxminddb.InvalidDatabaseError, ValueError):
            return None  # a broken record, or an IPv6 address in a database of IPv4
        place = found.get("location") if isinstance(found, dict) else None
        if not isinstance(place, dict):
            return None
        latitude, longitude = place.get("latitude"), place.get("longitude")
        if not isinstance(latitude, float | int) or not isinstance(longitude, float | int):
            return None
        if abs(latitude) > 90 or abs(longitude) > 180:
            return None
        return Location(float(latitude), float(longitude))


def distance_km(one: Location | None, other: Location | None) -> float | None:
    """Along the great circle; None when either is unknown. Source: the haversine formula."""
    if one is None or other is None:
        return None
    south, north = math.radians(one.latitude), math.radians(other.latitude)
    turn = math.radians(other.longitude - one.longitude)
    half = math.sin((north - south) / 2) ** 2 + math.cos(south) * math.cos(north) * math.sin(turn / 2) ** 2
    return 2 * _EARTH_KM * math.asin(min(1.0, math.sqrt(half)))
