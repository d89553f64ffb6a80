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

T = TypeVar("T")

MAX_CONFIG_BYTES: Final = 64 << 20
"""A fleet file of 17,000 appliances is about 6 MB."""

_location = re.compile(r"\A(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?\Z", re.DOTALL)
_step = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\d+|\.\.\.)\]")

Path_ = tuple[Hashable, ...]


class ConfigError(Exception):
    """What is wrong with a configuration: ``FILE:LINE: KEY: what, and what would be right``."""


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
    try:
        node = yaml.compose(raw, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{name}{line}: not YAML: {getattr(error, 'problem', None) or error}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{name}: not YAML: {error}") from None
    lines: dict[Path_, int] = {}
    try:
        data = _plain(node, (), lines, name, frozenset()) if node is not None else {}
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply") from None
    _refuse_unknown(msgspec.inspect.type_info(kind), data, (), lines, name)
    try:
        return msgspec.convert(data, kind, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), lines, name)) from None


def _plain(
    node: yaml.Node, path: Path_, lines: dict[Path_, int], name: str, open_nodes: frozenset[int]
) -> Any:
    """Plain data of a node, noting the line of every path; refuses a key that stands twice."""
    lines.setdefault(path, node.start_mark.line + 1)
    if id(node) in open_nodes:
        raise ConfigError(f"{name}:{node.start_mark.line + 1}: an alias inside what it names")
    inside = open_nodes | {id(node)}
    if isinstance(node, yaml.MappingNode):
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = _scalar(key_node, name)
            if key in result:
                raise ConfigError(
                    f"{name}:{key_node.start_mark.line + 1}: {_dotted((*path, key))}: stands twice"
                )
            lines[(*path, key)] = key_node.start_mark.line + 1
            result[key] = _plain(value_node, (*path, key), lines, name, inside)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, index), lines, name, inside) for index, item in enumerate(node.value)]
    return _scalar(node, name)


def _scalar(node: yaml.Node, name: str) -> Any:
    try:
        if not isinstance(node, yaml.ScalarNode):
            raise ValueError("a key must be a word")
        loader = yaml.SafeLoader("")
        return loader.construct_object(node)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{name}:{node.start_mark.line + 1}: {error}") from None


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


def _explain(message: str, lines: dict[Path_, int], name: str) -> str:
    """Msgspec's message with the line put in front and the path spelled as the file has it."""
    found = _location.match(message)
    assert found is not None  # the pattern matches any text
    what = found["what"]
    path: Path_ = ()
    for word, index in _step.findall(found["path"] or ""):
        path = (*path, word or (int(index) if index != "..." else 0))
    line = next((lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in lines), 1)
    where = f"{_dotted(path)}: " if path else ""
    return f"{name}:{line}: {where}{what[:1].lower() + what[1:]}"


def _dotted(path: Path_) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text
