"""One line per event, whatever stands in it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import log
from daemon.log import LEVELS, event, setup

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJleHAiOjE4MDAwMDAwMDB9.c2lnbmF0dXJl"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def raised(message: str) -> object:
    try:
        raise ValueError(message)
    except ValueError:
        return sys.exc_info()


def record(message: str, exc_info: object = None, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("oca.store", logging.WARNING, "f.py", 1, message, (), exc_info)  # type: ignore[arg-type]
    made.fields = fields
    return made


def test_under_systemd_a_line_is_json_with_time_level_program_event_and_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    setup("oca", "info")
    event(logging.getLogger("oca.store"), "object committed", logging.WARNING, key="tt1/a", size=7)
    (line,) = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {
        "level": "warning",
        "program": "oca",
        "logger": "oca.store",
        "event": "object committed",
        "key": "tt1/a",
        "size": 7,
    }


def test_on_a_terminal_a_line_is_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    setup("oca")
    event(logging.getLogger("oca.store"), "object committed", key="tt1/a", size=7)
    event(logging.getLogger("oca.store"), "disk failed", logging.ERROR)
    first, second = capsys.readouterr().err.splitlines()
    assert first[8:] == " oca object committed key=tt1/a size=7"
    assert second[8:] == " oca error: disk failed"


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_below_the_level_is_not_said(capsys: pytest.CaptureFixture[str], level: str) -> None:
    setup("oca", level)
    for name in LEVELS:
        event(logging.getLogger("oca"), name, logging.getLevelNamesMapping()[name.upper()])
    said = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert said == list(LEVELS[LEVELS.index(level) :])


@pytest.mark.parametrize("name", ["botocore.hooks", "urllib3.connectionpool", "aiohttp.access", "asyncio"])
def test_libraries_say_nothing_about_each_request(capsys: pytest.CaptureFixture[str], name: str) -> None:
    setup("oca", "debug")
    logging.getLogger(name).info("GET / 200")
    assert capsys.readouterr().err == ""


@given(
    st.text(),
    st.dictionaries(st.text(min_size=1, max_size=8), st.text() | st.binary() | st.none(), max_size=3),
)
def test_nothing_in_a_field_can_make_a_second_line_of_json(message: str, fields: dict[str, object]) -> None:
    made = record("")
    made.msg, made.fields = message.replace("%", "%%"), fields
    line = log._Json("oca").format(made)
    assert len(line.splitlines()) == 1
    json.loads(line)


def test_a_traceback_stays_in_its_line_of_json() -> None:
    line = log._Json("oca").format(record("failed", raised("a\nb")))
    assert "ValueError: a\nb" in json.loads(line)["traceback"]
    assert "\n" not in line


@pytest.mark.parametrize(
    "text",
    [
        f"http://192.0.2.1/URISigningPackage={JWT}/tt1/a.mp4",
        f"Authorization: Bearer {JWT}",
        "Authorization: Bearer c2VjcmV0LWtleS1vZi1hLXNlcnZpY2U",
        "Cannot connect: https://user:c2VjcmV0@s3.example/",
    ],
)
@pytest.mark.parametrize("formatter", [log._Json, log._Words])
def test_a_secret_in_a_field_or_a_message_is_not_written(
    text: str, formatter: type[logging.Formatter]
) -> None:
    for made in (
        record(text),
        record("failed", why=text),
        record("failed", deep={"asked": [text], text: 1}),
        record("failed", **{text: "a name from outside"}),
        record("failed", raw=text.encode()),
        record("failed", raised(text)),
    ):
        line = formatter("oca").format(made)
        assert "c2Vj" not in line
        assert "c2lnbmF0dXJl" not in line
        assert "[cut]" in line


@pytest.mark.parametrize("break_", ["\n", "\r", "\v", "\x85", "\u2028", "\x1c"])
def test_nothing_in_a_field_can_make_a_second_line_of_words(break_: str) -> None:
    hostile = f"/a{break_}12:00:00 oca all is well\x1b[2K\x9b2J\u202e"
    for made in (record("asked", path=hostile), record(hostile), record("asked", **{hostile: 1})):
        line = log._Words("oca").format(made)
        assert len(line.splitlines()) == 1
        assert line.isprintable()


def test_no_line_of_a_traceback_passes_for_an_event_on_a_terminal() -> None:
    line = log._Words("oca").format(record("failed", raised("a\n12:00:00 oca all is well\x1b[2K")))
    first, *trace = line.split("\n")
    assert first.endswith(" oca warning: failed")
    assert all(text.startswith("    ") and text.isprintable() for text in trace)
    assert trace[-1] == "    12:00:00 oca all is well\\x1b[2K"


def test_a_field_does_not_stand_in_the_place_of_the_lines_own() -> None:
    own = {"time": "x", "level": "info", "program": "x", "logger": "x", "event": "x", "traceback": "x"}
    found = json.loads(log._Json("oca").format(record("asked", raised("y"), **own, level_="kept too")))
    assert found["time"].endswith("Z")
    assert (found["level"], found["program"], found["logger"], found["event"]) == (
        "warning",
        "oca",
        "oca.store",
        "asked",
    )
    assert "ValueError: y" in found["traceback"]
    assert found["level_"] == "info"
    assert found["level__"] == "kept too"


def test_plain_values_stay_what_they_are_and_the_rest_is_text() -> None:
    endless: list[object] = []
    endless.append(endless)
    found = json.loads(
        log._Json("oca").format(
            record(
                "asked",
                count=7,
                share=0.5,
                odd=float("nan"),
                on=True,
                none=None,
                many=(1, "a"),
                endless=endless,
            )
        )
    )
    assert {name: found[name] for name in ("count", "share", "odd", "on", "none", "many")} == {
        "count": 7,
        "share": 0.5,
        "odd": "nan",
        "on": True,
        "none": None,
        "many": [1, "a"],
    }
    assert "[...]" in json.dumps(found["endless"])
