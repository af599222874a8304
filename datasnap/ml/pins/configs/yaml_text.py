"""YAML: scalars are replaced and lines put in where the parser says that they stand.

Dumping a file anew, even by a library that means to keep it, moves comments, folds lines and
changes indentation. So nothing is dumped: the parser gives the place of each node in the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from datasnap.ml.pins.configs.blocks import KEY, Block

#: So many mappings are read below each other: the block, and one for each of its pins.
_DEPTH = 3

#: A node of ruamel.yaml's, of which each kind has a type of its own.
Node: TypeAlias = Any
_NULL = "tag:yaml.org,2002:null"
#: What needs no quotes anywhere. A digit may begin a number, so what it begins must have a letter
#: that none has.
_PLAIN = re.compile(
    r"(?:[A-Za-z/][\w./@+-]*|\.{1,2}(?:/[\w./@+-]*)?|\d\w*[a-df]\w*|[a-z]\w*://[\w./@+-]+)"
)
_WORDS = re.compile(
    r"(?:true|false|yes|no|on|off|null|y|n|\d[\d_.]*e[\d]+|0[xob]\w*)", re.IGNORECASE
)


class YamlText:
    """See `blocks.Format`."""

    def read(self, text: str) -> Block | None:
        found = _find(_compose(text), KEY)
        return None if found is None else _values(found[1])

    def put(self, text: str, path: tuple[str, ...], values: Mapping[str, str]) -> str:
        for key, value in values.items():
            text = _put(text, (*path, key), value)
        return text

    def nest(self, text: str, name: str) -> str:
        found = _find(_compose(text), KEY)
        if found is None or _is_empty(found[1]):
            raise ValueError(f"there is no '{KEY}' in it")
        key, block = found
        if block.flow_style:
            start, end = block.start_mark.index, block.end_mark.index
            return f"{text[:start]}{{{_scalar(name)}: {text[start:end]}}}{text[end:]}"
        start, end = _line_start(text, block.start_mark.index), _line_end(text, _end(block))
        step = block.start_mark.column - key.start_mark.column
        head = f"{' ' * block.start_mark.column}{_scalar(name)}:{_newline(text)}"
        moved = re.sub(r"^(?=.*\S)", " " * step, text[start:end], flags=re.MULTILINE)
        return text[:start] + head + moved + text[end:]

    def outside(self, text: str) -> object:
        root = _compose(text)
        block = _find(root, KEY)
        # What stands in the block, not what it borrows by an alias; others may borrow from it.
        ours = set() if block is None else _below(block[1], block[0].end_mark.index)
        others = [] if root is None else [pair for pair in root.value if pair is not block]
        seen: dict[int, int] = {}
        return [list(_outline(node, seen, ours)) for pair in others for node in pair]


def _put(text: str, path: tuple[str, ...], value: str) -> str:
    """The text with one value in it."""
    node: Node = _compose(text)
    key: Node = None
    for depth, name in enumerate(path):
        if node is not None and not _is_empty(node) and node.id != "mapping":
            raise ValueError(f"'{'.'.join(path[:depth]) or 'it'}' is no mapping")
        found = None if node is None else _find(node, name)
        if found is None:
            return _insert(text, node, key, path[depth:], value)
        key, node = found
    if node.id != "scalar":
        raise ValueError(f"'{'.'.join(path)}' is no text")
    start, end = node.start_mark.index, node.end_mark.index
    if _is_empty(node):
        start = end = text.index(":", key.end_mark.index) + 1
    anchor = f"&{node.anchor} " if node.anchor else ""
    space = " " if text[start - 1] == ":" else ""
    line = _newline(text) if text[start:end].endswith("\n") else ""  # a literal ends with its line
    return f"{text[:start]}{space}{anchor}{_scalar(value, node.style)}{line}{text[end:]}"


def _insert(text: str, parent: Node, key: Node, path: tuple[str, ...], value: str) -> str:
    """The text with a value at a path below a mapping, that so far has nothing there.

    Args:
        parent: the mapping, or an empty value where one is to be; None: the file is empty.
        key: of the mapping; None: it is the file's.
    """
    if parent is not None and parent.id == "mapping" and parent.flow_style:
        return _insert_in_braces(text, parent, path, value)
    step = _step(text)
    if key is None:
        column, at = parent.start_mark.column if parent is not None else 0, len(text)
    elif _is_empty(parent):
        column = key.start_mark.column + step
        text = _without(text, parent.start_mark.index, parent.end_mark.index)  # it may say null
        at = _line_end(text, text.index(":", key.end_mark.index))
    else:
        column, at = parent.start_mark.column, _line_end(text, _end(parent))
    newline, before = _newline(text), text[:at]
    if before and not before.endswith("\n"):
        before += newline
    if key is None and before.strip():
        before += newline  # a blank line before the block
    lines = [f"{' ' * (column + d * step)}{_scalar(name)}:" for d, name in enumerate(path)]
    return before + newline.join(lines) + f" {_scalar(value)}{newline}" + text[at:]


def _without(text: str, start: int, end: int) -> str:
    """The text without what stands there; and without spaces before it, where its line ends."""
    before, after = text[:start], text[end:]
    if start < end and not after.partition("\n")[0].strip():
        before, after = before.rstrip(" "), after.lstrip(" ")
    return before + after


def _insert_in_braces(text: str, parent: Node, path: tuple[str, ...], value: str) -> str:
    made = f"{_scalar(path[-1])}: {_scalar(value)}"
    for name in reversed(path[:-1]):
        made = f"{_scalar(name)}: {{{made}}}"
    if not parent.value:
        at = parent.start_mark.index + 1
        return text[:at] + made + text[at:]
    at = (
        _end(parent.value[-1][1])
        if not _is_empty(parent.value[-1][1])
        else parent.end_mark.index - 1
    )
    return f"{text[:at]}, {made}{text[at:]}"


def _compose(text: str) -> Node:
    """The root node; None: there is nothing in it.

    Raises:
        ValueError: it is no YAML, more than one document, or no mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except YAMLError as error:
        raise ValueError(str(error)) from error
    if root is None or _is_empty(root):
        return None
    if root.id != "mapping":
        raise ValueError("it is no mapping")
    return root


def _outline(node: Node, seen: dict[int, int], ours: set[int]) -> Iterator[object]:
    """The tag and value of a node and all below it; each once, as aliases are."""
    if id(node) in ours:
        yield KEY
    elif id(node) in seen:
        yield seen[id(node)]
    else:
        seen[id(node)] = len(seen)
        children = _children(node)
        yield str(node.tag), node.value if node.id == "scalar" else len(children)
        for child in children:
            yield from _outline(child, seen, ours)


def _below(node: Node, start: int) -> set[int]:
    """A node and all below it that stand behind a place."""
    found, waiting = set[int](), [node]
    while waiting:
        node = waiting.pop()
        if id(node) not in found and node.start_mark.index >= start:
            found.add(id(node))
            waiting += _children(node)
    return found


def _children(node: Node) -> list[Node]:
    if node.id == "mapping":
        return [child for pair in node.value for child in pair]
    return list(node.value) if node.id == "sequence" else []


def _find(mapping: Node, name: str) -> tuple[Node, Node] | None:
    """The key and value of that name in a mapping.

    Raises:
        ValueError: it is there twice, and some take the first, others the last.
    """
    if mapping is None or mapping.id != "mapping":
        return None
    found = [pair for pair in mapping.value if pair[0].id == "scalar" and pair[0].value == name]
    if len(found) > 1:
        raise ValueError(f"'{name}' is in it twice")
    return found[0] if found else None


def _values(node: Node, depth: int = 0) -> Block:
    """The texts in a mapping, and in mappings below it; merged ones (`<<: *other`), too."""
    found: Block = {}
    if node.id != "mapping" or depth > _DEPTH:
        return found
    for key, value in node.value:
        if key.id != "scalar":
            continue
        _find(node, key.value)  # it is there once
        if key.value == "<<" and key.style is None:
            for merged in value.value if value.id == "sequence" else [value]:
                found = {**_values(merged, depth + 1), **found}
        elif value.id == "scalar" and not _is_empty(value):
            found[key.value] = value.value
        elif value.id == "mapping":
            found[key.value] = _values(value, depth + 1)
    return found


def _is_empty(node: Node) -> bool:
    return node.id == "scalar" and node.style is None and str(node.tag) == _NULL


def _end(node: Node) -> int:
    """Where the text of a node ends: of a block its end mark is where the next thing begins."""
    if node.id == "scalar" or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    key, value = last if node.id == "mapping" else (last, last)
    return _end(value) if not _is_empty(value) else int(key.end_mark.index)


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def _line_end(text: str, at: int) -> int:
    """Where the line of a place ends, with its line break; a place at its begin is an end, too."""
    if at and text[at - 1] == "\n":
        return at
    return text.find("\n", at) + 1 or len(text)


def _step(text: str) -> int:
    """By how much the file indents mappings."""
    root = _compose(text)
    for key, value in root.value if root is not None else ():
        if value.id == "mapping" and not value.flow_style:
            return int(value.start_mark.column - key.start_mark.column)
    return 2


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _scalar(value: str, style: str | None = None) -> str:
    """A text as YAML writes it, in the quotes that stood there where that is possible."""
    if style == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    if style != '"' and _PLAIN.fullmatch(value) and not _WORDS.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)
