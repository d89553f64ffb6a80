"""What was read from S3 is the same after a restart, or is not there at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.catalog import TitleRef
from contracts.inforce import CATALOGS, PLANS, InForce
from steering import keptcontent
from steering.content import Content
from steering.holdings import Title
from steering.keptcontent import load, obeyed, save, source_of

SOURCE = source_of("http://192.0.2.1", "bucket", None)
TITLES = {
    f"tt{number}": Title(
        f"tt{number}/m.m3u8",
        f"tt{number}/m.mpd",
        ("DE", "AT") if number % 2 else None,
        number,
        30,
        frozenset({f"tt{number}/2160p/video.mp4"}),
        ((240, 235_000), (1080, 5_000_000)),
        number or None,
    )
    for number in range(450)
}
CONTENT = Content(
    "20261121T060000Z-0a1b2c",
    "20261121T070000Z-0a1b2c",
    TITLES,
    {name: f"catalog/1/{name}.json" for name in TITLES},
    {(version, f"a{number}"): bytes([number % 256]) * 100 for version in ("1", "2") for number in range(450)},
    {"plans/2/a7.json": "is not signed"},
    {**{name: title.number for name, title in TITLES.items()}, "tt-gone": 450},
    1_795_312_800,
    1_795_312_799,
    (TitleRef("tt9", "catalog/20261121T060000Z-0a1b2c/titles/tt9.json", 5, 0, sha256="a" * 64),),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / keptcontent.FILE_NAME


@pytest.mark.parametrize("content", [CONTENT, Content(), Content("1", None, TITLES, CONTENT.entries)])
def test_what_is_kept_is_read_as_it_was(path: Path, content: Content) -> None:
    save(path, content, SOURCE)
    assert load(path, SOURCE) == content
    assert path.stat().st_mode & 0o777 == 0o640
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_is_not_there_is_none(path: Path) -> None:
    assert load(path, SOURCE) is None
    assert obeyed(path, SOURCE, PLANS) is None


def test_the_last_words_are_at_its_beginning(path: Path) -> None:
    save(path, CONTENT, SOURCE)
    assert obeyed(path, SOURCE, PLANS) == InForce("20261121T070000Z-0a1b2c", 1_795_312_800)
    assert obeyed(path, SOURCE, CATALOGS) == InForce("20261121T060000Z-0a1b2c", 1_795_312_799)
    assert obeyed(path, "another", PLANS) is None
    for length in (60, 25, 5, 0):
        path.write_bytes(path.read_bytes()[:length])
        assert obeyed(path, SOURCE, PLANS) is None
    save(path, Content("1", "unsigned"), SOURCE)
    assert obeyed(path, SOURCE, PLANS) is None


@pytest.mark.parametrize(
    "other",
    [
        source_of("http://192.0.2.1", "another", None),
        source_of("http://192.0.2.1", "bucket", b"now plans must be signed"),
        source_of(None, "bucket", None),
    ],
)
def test_what_came_from_elsewhere_or_was_believed_for_less_is_left_alone(path: Path, other: str) -> None:
    save(path, CONTENT, SOURCE)
    assert load(path, other) is None


def test_a_file_of_another_version_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(path, CONTENT, SOURCE)
    monkeypatch.setattr(keptcontent, "VERSION", keptcontent.VERSION + 1)
    assert load(path, SOURCE) is None


def test_a_file_that_was_cut_or_damaged_is_left_alone(path: Path) -> None:
    save(path, CONTENT, SOURCE)
    whole = path.read_bytes()
    for length in [*range(0, 300, 7), *range(300, len(whole), len(whole) // 50)]:
        path.write_bytes(whole[:length])
        assert load(path, SOURCE) is None
    for at in (50, 150, 5_000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert load(path, SOURCE) is None
    path.write_bytes(whole + b"x")
    assert load(path, SOURCE) is None


def test_a_draft_that_fails_leaves_what_was_kept(path: Path) -> None:
    save(path, CONTENT, SOURCE)
    broken = Content("2", None, {"tt1": TITLES["tt1"]}, {})  # a title without its entry
    with pytest.raises(KeyError):
        save(path, broken, SOURCE)
    assert load(path, SOURCE) == CONTENT
    assert [file.name for file in path.parent.iterdir()] == [path.name]
