"""A YAML file as one strict typed tree, with errors that name the file, the line and the key.

A program describes its configuration as msgspec structs; field descriptions and bounds stand in
``msgspec.Meta``. An unknown key is an error that names the nearest right one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import yaml

from daemon.line import one_line

T = TypeVar("T")

MAX_CONFIG_BYTES: Final = 64 << 20
"""A fleet file of 17,000 appliances is about 6 MB."""

MAX_ALIASED: Final = 100_000
"""Values that aliases may repeat, all together: ten aliases of ten aliases of ... would fill the memory."""

_not_text = re.compile(r"Expected `str( \| null)?`, got `(bool|int|float|date|datetime)`\Z").match
_location = re.compile(r"\A(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?\Z", re.DOTALL)
_step = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\d+|\.\.\.)\]")

Path_ = tuple[Hashable, ...]


class ConfigError(Exception):
    """What is wrong with a configuration: ``FILE:LINE: KEY: what, and what would be right``; one line."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def load(path: Path, kind: type[T]) -> T:
    """The configuration in ``path`` as ``kind`` (a msgspec struct); raises `ConfigError`."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if len(raw) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{path}: longer than {MAX_CONFIG_BYTES} bytes")
    return parse(raw, kind, str(path))


def parse(raw: bytes | str, kind: type[T], name: str) -> T:
    """As `load`, from text; ``name`` stands for the file in errors."""
    node = _compose(raw, name)
    reading = _Reading(name)
    try:
        data = reading.plain(node, (), frozenset()) if node is not None else {}
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply") from None
    lines = reading.lines
    _refuse_unknown(msgspec.inspect.type_info(kind), data, (), lines, name)
    try:
        return msgspec.convert(data, kind, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), lines, name, msgspec.inspect.type_info(kind))) from None


def _compose(raw: bytes | str, name: str) -> yaml.Node | None:
    """The document's node; None when it has none. PyYAML's own errors have two lines: ours have one."""
    try:
        return yaml.compose(raw, Loader=yaml.CSafeLoader)
    except yaml.reader.ReaderError as error:
        before = (raw.encode(errors="replace") if isinstance(raw, str) else raw)[: error.position]
        line = before.count(b"\n") + 1
        raise ConfigError(
            f"{name}:{line}: not YAML: not UTF-8 text, or a character that YAML has no place for"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{name}:{mark.line + 1}" if mark is not None else name
        raise ConfigError(f"{where}: not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        raise ConfigError(f"{name}: not YAML: {error}") from None


class _Reading:
    """One document on its way from nodes to plain data; `lines` is the line of every path in it."""

    def __init__(self, name: str) -> None:
        self.lines: dict[Path_, int] = {}
        self._name = name
        self._loader = yaml.SafeLoader("")  # one for all: it takes ten times as long to make as a value
        self._seen: set[int] = set()
        self._aliased = 0

    def plain(self, node: yaml.Node, path: Path_, open_nodes: frozenset[int]) -> Any:
        """Plain data of a node; refuses a key that stands twice, and aliases without an end."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in open_nodes:
            raise self._error(node, "an alias inside what it names")
        if id(node) in self._seen:
            self._aliased += 1
            if self._aliased > MAX_ALIASED:
                raise self._error(node, f"aliases repeat more than {MAX_ALIASED} values: write them out")
        self._seen.add(id(node))
        inside = open_nodes | {id(node)}
        if isinstance(node, yaml.MappingNode):
            result: dict[Any, Any] = {}
            for key_node, value_node in node.value:
                key = self._scalar(key_node)
                if key in result:
                    raise self._error(key_node, f"{_dotted((*path, key))}: stands twice")
                self.lines[(*path, key)] = key_node.start_mark.line + 1
                result[key] = self.plain(value_node, (*path, key), inside)
            return result
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, (*path, index), inside) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _scalar(self, node: yaml.Node) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, "a key must be a word")
        what = node.tag.removeprefix("tag:yaml.org,2002:")
        if what == "merge":
            raise self._error(node, "'<<' is not read here: write the keys out")
        try:
            value = self._loader.construct_object(node)
            if isinstance(value, list | dict | set):
                raise ValueError
        except yaml.MarkedYAMLError as error:
            raise self._error(node, error.problem or str(error.context)) from None
        except (ValueError, LookupError, AttributeError, ArithmeticError):
            # What PyYAML lets through when a tag (!!int, !!timestamp) stands before what is none.
            raise self._error(node, f"{node.value[:80]!r} is not of the kind {what!r}") from None
        return value

    def _error(self, node: yaml.Node, why: str) -> ConfigError:
        return ConfigError(f"{self._name}:{node.start_mark.line + 1}: {why}")


def _refuse_unknown(
    info: msgspec.inspect.Type, data: Any, path: Path_, lines: dict[Path_, int], name: str
) -> None:
    """Raises `ConfigError` on the first key that no struct on the way has."""
    if isinstance(info, msgspec.inspect.UnionType):
        for member in info.types:
            if isinstance(member, msgspec.inspect.StructType | msgspec.inspect.CollectionType):
                _refuse_unknown(member, data, path, lines, name)
    elif isinstance(info, msgspec.inspect.StructType) and isinstance(data, dict):
        fields = {field.encode_name: field.type for field in info.fields}
        for key, value in data.items():
            if key not in fields:
                nearest = difflib.get_close_matches(str(key), fields, n=1)
                hint = f"did you mean {nearest[0]!r}?" if nearest else f"known here: {', '.join(fields)}"
                raise ConfigError(
                    f"{name}:{lines.get((*path, key), 1)}: {_dotted((*path, key))}: no such key; {hint}"
                )
            _refuse_unknown(fields[key], value, (*path, key), lines, name)
    elif isinstance(info, msgspec.inspect.CollectionType) and isinstance(data, list):
        for index, value in enumerate(data):
            _refuse_unknown(info.item_type, value, (*path, index), lines, name)


def _explain(message: str, lines: dict[Path_, int], name: str, info: msgspec.inspect.Type) -> str:
    """Msgspec's message with the line put in front, the path spelled as the file has it, and what would be right."""
    found = _location.match(message)
    assert found is not None  # the pattern matches any text
    what = found["what"]
    if _not_text(what):
        what += "; in quotes it would be text"  # country: NO is false, listen: 12:30 is a number
    path: Path_ = ()
    for word, index in _step.findall(found["path"] or ""):
        path = (*path, word or (int(index) if index != "..." else 0))
    if what.startswith("Invalid enum value") and (known := _choices(info, path)):
        what += f"; one of {', '.join(known)}"
    line = next((lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in lines), 1)
    where = f"{_dotted(path)}: " if path else ""
    return f"{name}:{line}: {where}{what[:1].lower() + what[1:]}"


def _choices(info: msgspec.inspect.Type, path: Path_) -> list[str]:
    """The values that an enumeration at ``path`` takes; none where no enumeration is there."""
    if isinstance(info, msgspec.inspect.UnionType):
        return next((found for member in info.types if (found := _choices(member, path))), [])
    if not path:
        if isinstance(info, msgspec.inspect.EnumType):
            return [str(member.value) for member in info.cls]
        return [str(value) for value in info.values] if isinstance(info, msgspec.inspect.LiteralType) else []
    if isinstance(info, msgspec.inspect.CollectionType):
        return _choices(info.item_type, path[1:])
    if isinstance(info, msgspec.inspect.StructType):
        fields = {field.encode_name: field.type for field in info.fields}
        return _choices(fields[path[0]], path[1:]) if path[0] in fields else []
    return []


def _dotted(path: Path_) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text
