"""JSON: texts are replaced and put in where they stand, as writing a file anew would lay out all
lists and numbers anew."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from datasnap.ml.pins.configs.blocks import KEY, Block

#: An object as it is written: a name may be in it twice.
_Object: TypeAlias = "tuple[tuple[str, Any], ...]"

_decoder = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")
_INDENT = re.compile(r"[{\[][ \t]*\r?\n([ \t]+)\S")


class _Member(NamedTuple):
    """A member of an object: where it begins, and its value begins and ends."""

    name: str
    at: int
    start: int
    end: int


class JsonText:
    """See `blocks.Format`."""

    def read(self, text: str) -> Block | None:
        found = _once(pair for pair in _loaded(text) if pair[0] == KEY).get(KEY)
        if found is not None and not isinstance(found, tuple):
            raise ValueError(f"'{KEY}' is no object")
        return None if found is None else _texts(found)

    def put(self, text: str, path: tuple[str, ...], values: Mapping[str, str]) -> str:
        text = text if text.strip() else "{}\n"
        for key, value in values.items():
            text = _put(text, (*path, key), value)
        return text

    def nest(self, text: str, name: str) -> str:
        block = next(m for m in _members(text, _skip(text, 0)) if m.name == KEY)
        value = text[block.start : block.end]
        if "\n" not in value:
            made = f"{{{json.dumps(name)}: {value}}}"
        else:
            step, around = _step(text), _indent_of(text, block.at)
            moved = value.replace("\n", f"\n{step}")
            made = f"{{\n{around}{step}{json.dumps(name)}: {moved}\n{around}}}"
            made = made.replace("\r\n", "\n").replace("\n", _newline(text))
        return text[: block.start] + made + text[block.end :]

    def outside(self, text: str) -> object:
        return [(name, repr(value)) for name, value in _loaded(text) if name != KEY]


def _put(text: str, path: tuple[str, ...], value: str) -> str:
    """The text with one value in it."""
    start = _skip(text, 0)
    for depth, name in enumerate(path):
        members = list(_members(text, start))
        found = next((m for m in members if m.name == name), None)
        if found is None:
            return _insert(text, start, members, path[depth:], value)
        start = found.start
        if depth == len(path) - 1:
            return text[:start] + _dumped(value) + text[found.end :]
    raise AssertionError("a path names something")


def _insert(
    text: str, start: int, members: list[_Member], path: tuple[str, ...], value: str
) -> str:
    """The text with a member more in the object that begins at `start`."""
    _, end = _decoder.raw_decode(text, start)
    step = _step(text)
    inline = bool(members) and "\n" not in text[start:end]
    if inline:
        made = _dumped(value)
        for name in reversed(path[1:]):
            made = f"{{{_dumped(name)}: {made}}}"
        at = members[-1].end
        return f"{text[:at]}, {_dumped(path[0])}: {made}{text[at:]}"
    around = _indent_of(text, members[-1].at) if members else _indent_of(text, start) + step
    newline, made = _newline(text), _dumped(value)
    for depth in range(len(path) - 1, 0, -1):
        inner, outer = around + step * depth, around + step * (depth - 1)
        made = f"{{{newline}{inner}{_dumped(path[depth])}: {made}{newline}{outer}}}"
    member = f"{newline}{around}{_dumped(path[0])}: {made}"
    if members:
        at = members[-1].end
        return f"{text[:at]},{member}{text[at:]}"
    return f"{text[: start + 1]}{member}{newline}{_indent_of(text, start)}{text[end - 1 :]}"


def _members(text: str, start: int) -> Iterator[_Member]:
    """The members of the object that begins at a place, in a text that is JSON."""
    if text[start] != "{":
        raise ValueError(f"what begins at {start} is no object")
    at = _skip(text, start + 1)
    while text[at] != "}":
        name, end = _decoder.raw_decode(text, at)
        value = _skip(text, _skip(text, end) + 1)
        _, end = _decoder.raw_decode(text, value)
        yield _Member(name, at, value, end)
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)


def _loaded(text: str) -> _Object:
    if not text.strip():
        return ()
    found = json.loads(text, object_pairs_hook=tuple)
    if not isinstance(found, tuple):
        raise ValueError("it is no object")
    return found


def _texts(found: _Object) -> Block:
    return {
        key: _texts(value) if isinstance(value, tuple) else str(value)
        for key, value in _once(found).items()
        if isinstance(value, (tuple, str, int, float))
    }


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Members by name, of which some parsers take the first of a name, others the last."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"'{name}' is in it twice")
        found[name] = value
    return found


def _skip(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]


def _dumped(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _step(text: str) -> str:
    """By how much the file indents."""
    found = _INDENT.search(text)
    return found[1] if found else "  "


def _indent_of(text: str, at: int) -> str:
    """The spaces that the line of a place begins with."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
