"""Live: packager -> origin -> IXP -> ISP -> players, all real. Each tier asks the next once for each segment."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from bench.live.origin import LiveOrigin, serving
from bench.live.packager import DASH, HLS, Stream, begun, packaging
from bench.live.players import Seen, watch
from bench.live.tiers import Tiers, tiers

STREAM = Stream(segment_s=1, duration_s=12, window=4, kept=6)
PLAYERS = 16


async def audience(origin: LiveOrigin, root: Path) -> tuple[list[Seen], Tiers]:
    """Players of both kinds who watch to the end; the appliances have ended too."""
    async with serving(origin):
        with (
            tiers(root, origin.url, STREAM.segment_s) as both,
            packaging(origin.folder, STREAM) as packager,
        ):
            await begun(packager, origin.folder, STREAM)
            timeout = aiohttp.ClientTimeout(total=60)
            async with aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), timeout=timeout
            ) as session:
                seen = await asyncio.gather(
                    *(
                        watch(session, f"http://127.0.0.1:{both.isp.port}", (HLS, DASH)[n % 2], 0.4)
                        for n in range(PLAYERS)
                    )
                )
    return seen, both


@pytest.mark.parametrize(
    "playlist_cache",
    [
        pytest.param("", id="playlists fresh as segment_s says"),
        pytest.param("max-age=1", id="as the origin says", marks=pytest.mark.soak),
    ],
)
def test_each_tier_asks_once_for_each_segment(tmp_path: Path, playlist_cache: str) -> None:
    folder = tmp_path / "packager"
    folder.mkdir()
    origin = LiveOrigin(folder, playlist_cache)
    seen, both = asyncio.run(audience(origin, tmp_path))

    assert [player.refused for player in seen if player.refused] == []
    assert not origin.missing
    fetched = set().union(*(player.digests for player in seen))
    assert origin.segments() == dict.fromkeys(fetched, 1)
    asked = both.asked_of_ixp()
    assert {name: count for name, count in asked.items() if name not in {HLS, DASH}} == origin.segments()
    for player in seen:
        assert player.digests == {name: origin.served[name] for name in player.digests}
        assert len(player.digests) >= STREAM.duration_s // 2
    # The window went on: what it began with is no longer at the origin.
    assert not (folder / "chunk-stream0-00001.m4s").exists()
