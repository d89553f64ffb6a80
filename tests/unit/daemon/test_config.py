"""A wrong configuration is one line: the file, the line, the key, what is wrong and what would be right."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from daemon.config import MAX_ALIASED, MAX_CONFIG_BYTES, ConfigError, load, parse


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


class Disk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: Annotated[str, Meta(pattern="^/")]
    size_bytes: Annotated[int, Meta(ge=1)] = 5


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    listen: str
    disks: tuple[Disk, ...] = ()
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    ratio: Annotated[float, Meta(ge=0, le=1)] = 0.5
    mode: Mode = Mode.FAST
    level: Literal["debug", "info"] = "info"
    tls: Disk | None = None
    required: bool = True

    def __post_init__(self) -> None:
        if self.listen == "nowhere":
            raise ValueError("listen: 'nowhere' is not an address")


KNOWN = "known here: listen, disks, workers, ratio, mode, level, tls, required"

GOLDEN = {
    # a key that does not exist
    "listn: x": "f.yaml:1: listn: no such key; did you mean 'listen'?",
    "listen: x\n\n# three\nwokers: 3": "f.yaml:4: wokers: no such key; did you mean 'workers'?",
    "listen: x\nWorkers: 3": "f.yaml:2: Workers: no such key; did you mean 'workers'?",
    "listen: x\nbind: 3": f"f.yaml:2: bind: no such key; {KNOWN}",
    "listen: x\nnull: 3": f"f.yaml:2: None: no such key; {KNOWN}",
    "listen: x\ndisks:\n  - path: /a\n  - pth: /b": "f.yaml:4: disks[1].pth: no such key; did you mean 'path'?",
    "listen: x\ntls:\n  path: /a\n  sise_bytes: 4": (
        "f.yaml:4: tls.sise_bytes: no such key; did you mean 'size_bytes'?"
    ),
    # a key that is missing, or stands twice
    "": "f.yaml:1: object missing required field `listen`",
    "# nothing but a remark": "f.yaml:1: object missing required field `listen`",
    "workers: 3": "f.yaml:1: object missing required field `listen`",
    "listen: x\ndisks:\n  - size_bytes: 3": "f.yaml:3: disks[0]: object missing required field `path`",
    "listen: x\nlisten: y": "f.yaml:2: listen: stands twice",
    "listen: x\ndisks:\n  - path: /a\n    path: /b": "f.yaml:4: disks[0].path: stands twice",
    # a value of the wrong type
    "listen: x\nworkers: many": "f.yaml:2: workers: expected `int`, got `str`",
    "listen: x\nworkers: '3'": "f.yaml:2: workers: expected `int`, got `str`",
    "listen: x\nworkers: 1.5": "f.yaml:2: workers: expected `int`, got `float`",
    "listen: x\nworkers:": "f.yaml:2: workers: expected `int`, got `null`",
    "listen: 8080": "f.yaml:1: listen: expected `str`, got `int`; in quotes it would be text",
    "listen: no": "f.yaml:1: listen: expected `str`, got `bool`; in quotes it would be text",
    "listen: 12:30": "f.yaml:1: listen: expected `str`, got `int`; in quotes it would be text",
    "listen: 2026-01-01": "f.yaml:1: listen: expected `str`, got `date`; in quotes it would be text",
    "listen: x\nrequired: 'yes'": "f.yaml:2: required: expected `bool`, got `str`",
    "listen: x\nratio: 1e-1": "f.yaml:2: ratio: expected `float`, got `str`",
    "listen: x\ndisks: /a": "f.yaml:2: disks: expected `array`, got `str`",
    "- listen: x": "f.yaml:1: expected `object`, got `array`",
    "listen": "f.yaml:1: expected `object`, got `str`",
    # a value out of bounds
    "listen: x\nworkers: 0": "f.yaml:2: workers: expected `int` >= 1",
    "listen: x\nworkers: 65": "f.yaml:2: workers: expected `int` <= 64",
    "listen: x\nratio: .nan": "f.yaml:2: ratio: expected `float` >= 0.0",
    "listen: x\nratio: .inf": "f.yaml:2: ratio: expected `float` <= 1.0",
    "listen: x\ndisks:\n  - path: /a\n    size_bytes: 0": "f.yaml:4: disks[0].size_bytes: expected `int` >= 1",
    "listen: x\ndisks:\n  - path: /a\n  - path: b": (
        "f.yaml:4: disks[1].path: expected `str` matching regex '^/'"
    ),
    "listen: x\nmode: fats": "f.yaml:2: mode: invalid enum value 'fats'; one of fast, slow",
    "listen: x\nlevel: loud": "f.yaml:2: level: invalid enum value 'loud'; one of debug, info",
    "listen: nowhere": "f.yaml:1: listen: 'nowhere' is not an address",
    # no YAML, or YAML that does something
    "listen: [": "f.yaml:2: not YAML: did not find expected node content",
    "listen: x\n\tworkers: 3": "f.yaml:2: not YAML: found a tab character that violates indentation",
    "listen: x\nworkers: *n": "f.yaml:2: not YAML: found undefined alias",
    "listen: &a [*a]": "f.yaml:1: an alias inside what it names",
    "listen: x\n? [a, b]\n: 3": "f.yaml:2: a key must be a word",
    "listen: x\n---\nlisten: y": "f.yaml:2: not YAML: but found another document",
}


@pytest.mark.parametrize("text", GOLDEN)
def test_a_wrong_configuration_is_told_in_these_words(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, Config, "f.yaml")
    assert str(caught.value) == GOLDEN[text]


NO_TEXT = "not YAML: not UTF-8 text, or a character that YAML has no place for"


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (
            "listen: x\nworkers: !!python/name:os.system",
            "f.yaml:2: could not determine a constructor for the tag 'tag:yaml.org,2002:python/name:os.system'",
        ),
        ("listen: x\n<<: {workers: 3}", "f.yaml:2: '<<' is not read here: write the keys out"),
        ("listen: x\n\x00", f"f.yaml:2: {NO_TEXT}"),
        (b"listen: x\nlisten: \xff\xfe", f"f.yaml:2: {NO_TEXT}"),
        ("listen: x\nworkers: !!int ''", "f.yaml:2: '' is not of the kind 'int'"),
        ("listen: x\nrequired: !!bool maybe", "f.yaml:2: 'maybe' is not of the kind 'bool'"),
        ("listen: !!timestamp noon", "f.yaml:1: 'noon' is not of the kind 'timestamp'"),
        ("? !!set x\n: 3", "f.yaml:1: 'x' is not of the kind 'set'"),
        ('"lis\\nten\\e[2K": x', "f.yaml:1: lis\\nten\\x1b[2K: no such key; did you mean 'listen'?"),
    ],
)
def test_what_yaml_itself_complains_about_is_one_line(raw: str | bytes, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(raw, Config, "f.yaml")
    assert str(caught.value).endswith(line)
    assert str(caught.value).isprintable()


def test_aliases_of_aliases_do_not_fill_the_memory() -> None:
    """Nine lines that would be a thousand million words."""
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(ConfigError) as caught:
        parse("\n".join(lines), Config, "f.yaml")
    assert str(caught.value) == f"f.yaml:2: aliases repeat more than {MAX_ALIASED} values: write them out"


@pytest.mark.parametrize("value", ["!!python/object/apply:os.abort []", "!!python/name:os.abort ''"])
def test_a_tag_that_would_run_something_runs_nothing(value: str) -> None:
    with pytest.raises(ConfigError, match=r"^f\.yaml:1: "):
        parse(f"listen: {value}", Config, "f.yaml")


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^f\.yaml"):
        parse("listen: " + "[" * 20_000 + "]" * 20_000, Config, "f.yaml")


def test_what_is_right_is_read_with_its_defaults() -> None:
    text = "listen: x\ndisks: [{path: /a}, {path: /b, size_bytes: 7}]\nmode: slow\nratio: 1\n"
    assert parse(text, Config, "f.yaml") == Config(
        "x", (Disk("/a"), Disk("/b", 7)), mode=Mode.SLOW, ratio=1.0
    )


def test_an_anchor_may_be_used_where_it_is_not_inside_itself() -> None:
    text = "listen: x\ntls: &d {path: /a}\ndisks: [*d, *d]\n"
    assert parse(text, Config, "f.yaml").disks == (Disk("/a"), Disk("/a"))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError) as caught:
            load(path, Config)
        assert str(caught.value) == f"{path}: cannot be read: {why}"


def test_a_file_beyond_the_bound_is_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(MAX_CONFIG_BYTES + 1)
    with pytest.raises(ConfigError, match=f"longer than {MAX_CONFIG_BYTES} bytes"):
        load(path, Config)


_TAGS = st.sampled_from(
    ["", "!!int ", "!!float ", "!!bool ", "!!timestamp ", "!!binary ", "!!omap ", "!!set "]
)
_VALUES = st.text(alphabet="0123456789-+:.TZ_xeainf ", max_size=30)


@given(
    st.text(max_size=80)
    | st.binary(max_size=40)
    | st.text(alphabet="listen: x\n-[]{}&*!'\"#|>%@`,?", max_size=60)
    | st.builds("listen: {}{}".format, _TAGS, _VALUES)
    | st.builds("? {}{}\n: 3".format, _TAGS, _VALUES)
)
def test_any_text_is_read_or_refused_in_one_line_under_the_files_name(text: str | bytes) -> None:
    try:
        parse(text, Config, "f.yaml")
    except ConfigError as error:
        assert str(error).startswith("f.yaml:")  # noqa: PT017 - either outcome is right
        assert str(error).isprintable()  # noqa: PT017
