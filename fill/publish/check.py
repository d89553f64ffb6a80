"""Whether an encode holds what it should: all of it decodes, it is as long as the source, and players can
switch at each of its segments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import av.error

_SAME_S: Final = 0.002
"""Two rungs count time in the same units, and are rounded to milliseconds at most."""


class BadEncode(Exception):
    """What the encoder wrote does not play, or is not the whole source."""


@dataclass(frozen=True, slots=True)
class Decoded:
    frames: int
    end_s: float
    """When the last frame begins."""
    key_times_s: tuple[float, ...]


def decode_all(path: Path, about: str) -> Decoded:
    """What comes out of ``path``, every frame of it; raises `BadEncode`, whose message begins with ``about``."""
    frames, end_s, keys = 0, 0.0, []
    try:
        with av.open(f"file:{path.absolute()}", options={"protocol_whitelist": "file"}) as container:
            stream = container.streams[0]
            # A damaged frame that is concealed would go unnoticed.
            stream.codec_context.options = {"err_detect": "explode"}
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    raise BadEncode(f"{about} holds a damaged frame at {float(packet.pts or 0):.0f}")
                if packet.is_keyframe and packet.pts is not None and packet.time_base is not None:
                    keys.append(float(packet.pts * packet.time_base))
                for frame in packet.decode():
                    frames += 1
                    end_s = max(end_s, getattr(frame, "time", None) or 0.0)
    except (av.error.FFmpegError, OSError) as error:
        raise BadEncode(f"{about} does not decode: {error}") from None
    if not frames:
        raise BadEncode(f"{about} does not decode: not a single frame")
    return Decoded(frames, end_s, tuple(keys))


def check_encode(path: Path, source: Path, expected_s: float) -> Decoded:
    """Decodes all of ``path``; raises `BadEncode` when that fails or it is too short.

    ``expected_s`` is 0 where the length of ``source`` is not known beforehand.
    """
    found = decode_all(path, f"{source}: its encode {path.parent.name}/{path.name}")
    # A second of slack: containers round, and the last picture of a slow video lasts long.
    if found.end_s < expected_s * 0.99 - 1:
        raise BadEncode(
            f"{source}: only {found.end_s:.1f} s of it can be decoded, and it says {expected_s:.1f} s: is it cut off?"
        )
    return found


def check_alignment(rungs: Mapping[str, tuple[Decoded, tuple[float, ...]]], source: Path) -> None:
    """Every rung begins its segments at the same instants, each with a key frame; raises `BadEncode`.

    ``rungs`` has for each name what came out of it and when its segments begin, as its index says.
    """
    first = next(iter(rungs))
    for name, (decoded, starts) in rungs.items():
        for what, found in (("key frames", decoded.key_times_s), ("segments", starts)):
            wanted = rungs[first][1]
            if len(found) != len(wanted) or any(
                abs(one - other) > _SAME_S for one, other in zip(found, wanted, strict=True)
            ):
                raise BadEncode(
                    f"{source}: its encode {name}: {len(found)} {what}, not at the instants of the "
                    f"{len(wanted)} segments of {first}: players could not switch"
                )
