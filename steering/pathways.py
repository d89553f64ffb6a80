"""One playback over several appliances: its manifests as a player that steers by itself wants them. Pure.

A pathway (HLS) or service location (DASH) is one appliance. What was published names every file relatively,
so each pathway is the same presentation below another base URL, and all of them share one token.

Source: draft-pantos-hls-rfc8216bis sections 4.4.6 and 7, ETSI TS 103 998 (DASH content steering).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

import msgspec

_attribute = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^",]+)').finditer
_GROUPS: Final = frozenset({"GROUP-ID", "AUDIO", "VIDEO", "SUBTITLES", "CLOSED-CAPTIONS"})
"""Attributes that name a group of renditions; ``CLOSED-CAPTIONS=NONE``, without quotes, names none."""
_PER_PATHWAY: Final = frozenset(
    {
        "EXT-X-MEDIA",
        "EXT-X-STREAM-INF",
        "EXT-X-I-FRAME-STREAM-INF",
        "EXT-X-IMAGE-STREAM-INF",
    }
)
_STEERS: Final = "EXT-X-CONTENT-STEERING"
_MPD: Final = "urn:mpeg:dash:schema:mpd:2011"


class BadManifest(Exception):
    """What was published under this name is no manifest of its kind; says why."""


@dataclass(frozen=True, slots=True)
class Pathway:
    """An appliance as this playback reaches it; ``base_url`` ends in '/' and holds the token."""

    id: str
    base_url: str


class UriReplacement(msgspec.Struct, frozen=True):
    host: str = msgspec.field(name="HOST")
    """With its port: players replace what stands between ``//`` and the path."""


class Clone(msgspec.Struct, frozen=True):
    """A pathway that the player's manifest does not have, told as one that it has on another host."""

    base: str = msgspec.field(name="BASE-ID")
    id: str = msgspec.field(name="ID")
    uri: UriReplacement = msgspec.field(name="URI-REPLACEMENT")


def clones(known: Sequence[str], urls: dict[str, str], wanted: Sequence[str]) -> tuple[Clone, ...]:
    """How a player that knows the pathways ``known`` reaches the rest of ``wanted``.

    ``urls`` are the appliances' own. A clone changes the host alone: one that is reached by another scheme
    than all that are known cannot be told.
    """
    by_scheme = {urlsplit(urls[name]).scheme: name for name in reversed(known) if name in urls}
    found = []
    for name in wanted:
        parts = urlsplit(urls[name])
        base = by_scheme.get(parts.scheme)
        if name not in known and base is not None:
            found.append(Clone(base, name, UriReplacement(parts.netloc)))
    return tuple(found)


def steered_playlist(published: str, key: str, pathways: Sequence[Pathway], steering_url: str) -> str:
    """The multivariant playlist with every pathway in it, best first. Raises `BadManifest`.

    Players that know nothing of steering take the copies for what RFC 8216 section 4.3.4.2 calls
    redundant streams, and go on to the next when one fails.
    """
    lines = published.splitlines()
    if not lines or lines[0].strip() != "#EXTM3U":
        raise BadManifest(f"{key}: not an HLS playlist: it does not begin with #EXTM3U")
    first = pathways[0]
    # Attributes of the whole stand once and before all that is told per pathway.
    once = [
        *_once(lines, first.base_url + key),
        f'#{_STEERS}:SERVER-URI="{steering_url}",PATHWAY-ID="{first.id}"',
    ]
    copies = [line for pathway in pathways for line in _copy(lines, key, pathway)]
    if not any(line.startswith("#EXT-X-STREAM-INF:") for line in copies):
        raise BadManifest(f"{key}: not a multivariant playlist: it has no EXT-X-STREAM-INF")
    return "\n".join([*once, *copies, ""])


def _once(lines: Sequence[str], url: str) -> Iterator[str]:
    for line in lines:
        name, _, value = line[1:].partition(":")
        if line.startswith("#EXT") and name not in _PER_PATHWAY and name != _STEERS:
            yield f"#{name}:{_rewritten(value, url)}" if 'URI="' in value else line.rstrip()


def _copy(lines: Sequence[str], key: str, pathway: Pathway) -> Iterator[str]:
    url = pathway.base_url + key
    for line in lines:
        name, _, value = line[1:].partition(":")
        if not line.startswith("#"):
            if line.strip():
                yield urljoin(url, line.strip())
        elif name in _PER_PATHWAY:
            told = _rewritten(value, url, pathway.id)
            # Renditions belong to a pathway through their group alone.
            yield f"#{name}:{told}" + ("" if name == "EXT-X-MEDIA" else f',PATHWAY-ID="{pathway.id}"')


def _rewritten(attributes: str, url: str, pathway: str | None = None) -> str:
    told = []
    for found in _attribute(attributes):
        name, value = found.groups()
        if name == "PATHWAY-ID":
            continue
        if name == "URI":
            value = f'"{urljoin(url, value.strip(chr(34)))}"'
        elif pathway is not None and name in _GROUPS and value[0] == '"':
            value = f'{value[:-1]}@{pathway}"'
        told.append(f"{name}={value}")
    return ",".join(told)


def steered_description(published: bytes, key: str, pathways: Sequence[Pathway], steering_url: str) -> bytes:
    """The MPD with a base URL for every pathway, best first. Raises `BadManifest`."""
    if b"<!DOCTYPE" in published or b"<!ENTITY" in published:
        raise BadManifest(f"{key}: an MPD with a document type of its own is not taken")
    try:
        mpd = ElementTree.fromstring(published)  # noqa: S314 - without a DTD there is nothing to expand
    except ElementTree.ParseError as error:
        raise BadManifest(f"{key}: not XML: {error}") from None
    if mpd.tag != f"{{{_MPD}}}MPD":
        raise BadManifest(f"{key}: not an MPD: its root is {mpd.tag!r}")
    own = mpd.find(f"{{{_MPD}}}BaseURL")
    below = "" if own is None or own.text is None else own.text.strip()
    for old in [*mpd.findall(f"{{{_MPD}}}BaseURL"), *mpd.findall(f"{{{_MPD}}}ContentSteering")]:
        mpd.remove(old)
    at = next((place for place, child in enumerate(mpd) if not child.tag.endswith("}ProgramInformation")), 0)
    for pathway in reversed(pathways):
        base = ElementTree.Element(f"{{{_MPD}}}BaseURL", serviceLocation=pathway.id)
        base.text = urljoin(pathway.base_url + key, below or ".")
        mpd.insert(at, base)
    steers = ElementTree.Element(
        f"{{{_MPD}}}ContentSteering", defaultServiceLocation=pathways[0].id, queryBeforeStart="true"
    )
    steers.text = steering_url
    mpd.insert(at + len(pathways), steers)
    ElementTree.register_namespace("", _MPD)
    described: bytes = ElementTree.tostring(mpd, encoding="utf-8", xml_declaration=True)
    return described
