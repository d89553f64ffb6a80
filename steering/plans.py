"""Which titles each appliance shall hold, by one version of the plan: from its index and a document per site.

An appliance's own plan names every object; for 17,000 appliances that would be read for hours. What steering needs
of a site is 300 KB: of each title and appliance, the share of what is asked for that is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from contracts import placement
from contracts.documents import MAX_SIGNATURE_BYTES, BadDocument, check_sha256, signature_key
from contracts.placement import SiteIndex, TitleShares
from contracts.signature import SignatureKeys
from daemon.s3 import S3Error, Trouble

HELD: Final = 0.9
"""Of what is asked for of a title at the site: an appliance that is planned to hold this much holds it. The rest are
encodes that hardly anybody plays; those are pulled."""


class VersionPlans:
    """One version. Every document is believed by the signature of the index and the digests in it."""

    def __init__(self, get: Callable[[str, int], bytes], version: str, keys: SignatureKeys | None) -> None:
        """Raises `S3Error`, `BadDocument`; an `S3Error` of `Trouble.NO_OBJECT` for a plan without an index."""
        self._get = get
        self.version = version
        name = placement.index_key(version)
        raw = get(name, placement.MAX_INDEX_BYTES)
        if keys is not None:
            keys.verify(raw, read_signature(get, name), name)
        self.index = placement.decode_index(raw, name)
        if self.index.version != version:
            raise BadDocument(name, f"is the index of version {self.index.version}, not of {version}")
        self._sites = {box: site for site in self.index.sites for box in site.appliances}
        self._last: tuple[str, TitleShares] | None = None

    def titles_of(self, appliance: str) -> frozenset[str]:
        """The titles that it shall hold; none of an appliance that the plan does not know.

        Quickest when the appliances of a site are asked for one after the other. Raises as the constructor does.
        """
        site = self._sites.get(appliance)
        if site is None:
            return frozenset()
        return frozenset(self.index.titles[row] for row in self._shares(site).rows(appliance, HELD))

    def _shares(self, site: SiteIndex) -> TitleShares:
        if self._last is None or self._last[0] != site.site:
            name = placement.titles_key(self.version, site.site)
            raw = self._get(name, placement.MAX_SITE_BYTES)
            check_sha256(raw, site.titles, name, "plan")
            shares = TitleShares.decode(raw, name, site.appliances, len(self.index.titles))
            self._last = site.site, shares
        return self._last[1]


def read_signature(get: Callable[[str, int], bytes], key: str) -> bytes:
    """The signature of a document; raises `BadDocument` when there is none, `S3Error`."""
    try:
        return get(signature_key(key), MAX_SIGNATURE_BYTES)
    except S3Error as error:
        if error.trouble is Trouble.NO_OBJECT:
            raise BadDocument(key, "is not signed, and only signed plans are believed here") from None
        raise
