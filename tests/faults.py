"""A backend that fails on purpose, and notes what is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from datasnap.errors import StorageError
from datasnap.storage import Backend

WRITES = ("write", "write_ref", "delete", "delete_ref")


class FaultyBackend:
    """Passes calls on; the call number `fail_at` (from 0) to one of `methods` raises instead.

    Attributes:
        calls: what was asked, as `(method, path)`, in order.
    """

    def __init__(
        self, inner: Backend, *, fail_at: int | None = None, methods: Sequence[str] = WRITES
    ) -> None:
        self._inner, self._fail_at, self._methods = inner, fail_at, methods
        self.calls: list[tuple[str, str]] = []
        self.url = inner.url

    @property
    def counted(self) -> int:
        return sum(method in self._methods for method, _ in self.calls)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        passed_on = getattr(self._inner, method)

        def call(*arguments: Any) -> Any:
            number = self.counted
            if arguments:  # else nothing is to be deleted, or the time is asked for
                self.calls.append((method, arguments[0]))
                if method in self._methods and number == self._fail_at:
                    raise StorageError("the disk is full at a test", hint="Free some space.")
            return passed_on(*arguments)

        return call
