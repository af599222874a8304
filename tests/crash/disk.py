"""What a disk may hold after the power went: all that the calls so far allow, no more.

Modelled after "All file systems are not created equal" (Pillai et al., OSDI 2014). Nothing that was
not synced need be there: contents of a file may be missing, cut short or zeros until it is synced;
that a name was made, changed or removed in a folder may be lost until the folder is synced, each
name apart from the others, and a folder that is not in the folder above it takes all below with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

#: What may have become of contents that were not synced.
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "whole": lambda data: data,
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
}


@dataclass(eq=False)
class File:
    """An inode of a file: its bytes, and those of them that are synced."""

    data: bytes = b""
    synced: bytes | None = None


@dataclass(eq=False)
class Folder:
    """An inode of a folder: its names as they are synced, and the changes since, in order."""

    synced: dict[str, File | Folder] = field(default_factory=dict)
    pending: list[tuple[str, File | Folder | None]] = field(default_factory=list)

    def names(self, lost: frozenset[int] = frozenset()) -> dict[str, File | Folder]:
        """The names, without some of the changes that are pending."""
        names = dict(self.synced)
        for number, (name, node) in enumerate(self.pending):
            if number in lost:
                continue
            if node is None:
                names.pop(name, None)
            else:
                names[name] = node
        return names


#: Paths to contents.
State = dict[str, bytes]


class Disk:
    """Follows the calls that change a folder, and knows what may be left of it.

    Attributes:
        changed: counts the calls that may have changed what is left.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._top = root, Folder()
        self._open: dict[int, File | Folder] = {}

    def record(self, patch: pytest.MonkeyPatch, after: Callable[[str], None]) -> None:
        """Follow the calls that this process makes from now on.

        Args:
            after: told after each which it was.
        """

        def follow(name: str, note: Callable[..., None]) -> None:
            call = getattr(os, name)

            def made(*arguments: Any, **options: Any) -> Any:
                result = call(*arguments, **options)
                if note(result, *arguments) is not False:
                    after(f"{name} {arguments[0]}")
                return result

            patch.setattr(os, name, made)

        follow("open", self._opened)
        follow("close", lambda _, descriptor: self._open.pop(descriptor, None) and False)
        follow("writev", self._written)
        follow("fsync", self._synced)
        follow("mkdir", self._made)
        follow("rename", self._renamed)
        follow("replace", self._renamed)
        follow("unlink", self._removed)
        follow("remove", self._removed)

    def states(self) -> Iterator[tuple[str, State]]:
        """All that may be left now, each with what happened to it.

        Of the names that are not synced all are lost, or none, or one, or all but one.
        """
        waiting = [
            (folder, number)
            for folder in self._folders(self._top, "")
            for number in range(len(folder.pending))
        ]
        losses = [[], waiting, *([one] for one in waiting)]
        losses += [[other for other in waiting if other is not one] for one in waiting]
        for lost in losses:
            for damage in DAMAGES:
                by_folder: dict[Folder, set[int]] = {}
                for folder, number in lost:
                    by_folder.setdefault(folder, set()).add(number)
                yield (
                    f"{len(lost)} of {len(waiting)} lost, {damage}",
                    dict(self._files(self._top, "", by_folder, DAMAGES[damage])),
                )

    def _files(
        self,
        folder: Folder,
        path: str,
        lost: dict[Folder, set[int]],
        damage: Callable[[bytes], bytes],
    ) -> Iterator[tuple[str, bytes]]:
        for name, node in folder.names(frozenset(lost.get(folder, ()))).items():
            if isinstance(node, Folder):
                yield from self._files(node, f"{path}{name}/", lost, damage)
            else:
                synced = node.synced == node.data
                yield path + name, node.data if synced else damage(node.data)

    def _folders(self, folder: Folder, path: str) -> Iterator[Folder]:
        """All but the one for files on their way, which nobody looks into."""
        if path.endswith("/tmp/"):
            return
        yield folder
        for name, node in folder.names().items():
            if isinstance(node, Folder):
                yield from self._folders(node, f"{path}{name}/")

    def _parts(self, path: Any) -> tuple[str, ...] | None:
        try:
            return Path(os.fspath(path)).relative_to(self._root).parts
        except (TypeError, ValueError):
            return None

    def _find(self, parts: tuple[str, ...]) -> File | Folder | None:
        node: File | Folder | None = self._top
        for part in parts:
            node = node.names().get(part) if isinstance(node, Folder) else None
        return node

    def _set(self, parts: tuple[str, ...], node: File | Folder | None) -> None:
        folder = self._find(parts[:-1])
        assert isinstance(folder, Folder), parts
        folder.pending.append((parts[-1], node))

    def _opened(self, descriptor: int, path: Any, *_: Any) -> bool | None:
        parts = self._parts(path)
        if parts is None:
            return False
        node = self._find(parts)
        if node is None:
            node = File()
            self._set(parts, node)
        self._open[descriptor] = node
        return None

    def _written(self, count: int, descriptor: int, buffers: Any) -> bool | None:
        node = self._open.get(descriptor)
        if not isinstance(node, File):
            return False
        node.data += b"".join(map(bytes, buffers))[:count]
        return None

    def _synced(self, _: None, descriptor: int) -> None:
        node = self._open.get(descriptor)
        if isinstance(node, File):
            node.synced = node.data
        elif isinstance(node, Folder):
            node.synced, node.pending = node.names(), []

    def _made(self, _: None, path: Any, *__: Any) -> None:
        if parts := self._parts(path):
            self._set(parts, Folder())

    def _renamed(self, _: None, source: Any, target: Any) -> None:
        old, new = self._parts(source), self._parts(target)
        if old and new:
            node = self._find(old)
            self._set(new, node)
            self._set(old, None)

    def _removed(self, _: None, path: Any, *__: Any) -> None:
        if parts := self._parts(path):
            self._set(parts, None)
