"""Whether an encode holds what it should: it decodes at both ends, and is as long as the source."""

from __future__ import annotations

from pathlib import Path

import av
import av.error


class BadEncode(Exception):
    """What the encoder wrote does not play, or is not the whole source."""


def check_encode(path: Path, source: Path, expected_s: float) -> None:
    """Decodes the start and the last second; raises `BadEncode` when that fails or it is too short.

    ``expected_s`` is 0 where the length of ``source`` is not known beforehand.
    """
    try:
        with av.open(str(path)) as container:
            stream = container.streams[0]
            first = next(container.decode(stream), None)
            length_s = (container.duration or 0) / av.time_base
            container.seek(int(max(0.0, length_s - 1) * av.time_base))
            times = [getattr(frame, "time", None) or 0.0 for frame in container.decode(stream)]
    except (av.error.FFmpegError, OSError) as error:
        raise BadEncode(f"{source}: its encode {path.name} does not decode: {error}") from None
    if first is None or not times:
        end = "start" if first is None else "end"
        raise BadEncode(f"{source}: its encode {path.name} does not decode at its {end}")
    # A second of slack: containers round, and the last picture of a slow video lasts long.
    if max(length_s, *times) < expected_s * 0.99 - 1:
        raise BadEncode(
            f"{source}: only {length_s:.1f} s of it can be decoded, and it says {expected_s:.1f} s: is it cut off?"
        )
