"""A repository in an object store, through obstore: S3, GCS, Azure, or this process's memory.

Credentials, region and endpoint come from the environment, by the names that the cloud's own
tools use (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, …):
https://developmentseed.org/obstore/latest/authentication/
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import obstore
from obstore import exceptions
from obstore.store import MemoryStore, from_url

from datasnap.errors import Conflict, CorruptData, StorageError
from datasnap.storage.backend import Buffer, Kept, Listed, LostAnswer, MissingFile, check_path

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_memory: dict[str, MemoryStore] = {}
_memory_lock = threading.Lock()


def open_object_store(location: str) -> ObjectStoreBackend:
    """The backend for a URL. A `memory://NAME` is the same store throughout the process.

    Raises:
        StorageError: the URL or the environment do not describe a store.
    """
    if location.startswith("memory://"):
        with _memory_lock:
            return ObjectStoreBackend(_memory.setdefault(location, MemoryStore()), location)
    options: dict[str, Any] = {
        "retry_config": {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
    }
    if any(
        os.environ.get(name, "").startswith("http://")
        for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT")
    ):
        options["client_options"] = {"allow_http": True}
    try:
        return ObjectStoreBackend(from_url(location, **options), location)
    except (exceptions.BaseError, ValueError) as error:
        raise StorageError(f"cannot open {location}: {_first_line(error)}") from error


class ObjectStoreBackend:
    """See `Backend`."""

    def __init__(self, store: ObjectStore, url: str) -> None:
        self._store, self.url = store, url

    def now(self) -> int:
        path = f"tmp/clock.{secrets.token_hex(6)}"
        with self._errors(path):
            obstore.put(self._store, path, b"now")
            try:
                return _time(obstore.head(self._store, path))
            finally:
                obstore.delete(self._store, path)

    def read(self, path: str) -> bytes:
        with self._errors(path):
            return bytes(obstore.get(self._store, check_path(path)).bytes())

    def read_range(self, path: str, start: int, length: int) -> bytes:
        return self.read_ranges(path, [(start, length)])[0]

    def read_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        if not ranges:
            return []
        with self._errors(path):
            found = obstore.get_ranges(
                self._store,
                check_path(path),
                starts=[start for start, _ in ranges],
                lengths=[length for _, length in ranges],
            )
        data = [bytes(piece) for piece in found]
        for piece, (start, length) in zip(data, ranges, strict=True):
            if len(piece) != length:
                raise _truncated(path, start + length)
        return data

    def write(self, path: str, buffers: Sequence[Buffer]) -> None:
        with self._errors(path):
            obstore.put(self._store, check_path(path), b"".join(buffers))

    def size(self, path: str) -> int | None:
        try:
            with self._errors(path):
                return int(obstore.head(self._store, check_path(path))["size"])
        except MissingFile:
            return None

    def list(self, prefix: str) -> list[Listed]:
        with self._errors(prefix):
            listed = obstore.list_with_delimiter(self._store, check_path(prefix))
        return sorted(
            Listed(item["path"].rpartition("/")[2], item["size"], _time(item))
            for item in listed["objects"]
        )

    def delete(self, *paths: str) -> None:
        checked = [check_path(path) for path in paths]
        if len(checked) > 1:
            with contextlib.suppress(MissingFile), self._errors(paths[0]):
                obstore.delete(self._store, checked)
                return
        for path in checked:  # one alone; or one is not there, which some stores stop at
            with contextlib.suppress(MissingFile), self._errors(path):
                obstore.delete(self._store, path)

    def read_ref(self, path: str) -> Kept | None:
        try:
            with self._errors(path):
                result = obstore.get(self._store, check_path(path))
                return Kept(bytes(result.bytes()), _version(result.meta), _time(result.meta))
        except MissingFile:
            return None

    def write_ref(self, path: str, data: bytes, expected: str | None) -> str:
        """See `Backend`. A put whose answer was lost and that was sent again finds its own write
        in the way; contents carry a nonce, so the same content there means that it succeeded.
        """
        mode: Any = "create" if expected is None else {"e_tag": expected}
        try:
            with self._errors(path):
                return _version(obstore.put(self._store, check_path(path), data, mode=mode))
        except Conflict:
            found = self.read_ref(path)
            if found is not None and found.data == data:
                return found.version
            raise
        except StorageError as error:
            if isinstance(error.__cause__, exceptions.GenericError):  # the network, a server's 500
                raise LostAnswer(error.message) from error
            raise

    def delete_ref(self, path: str, expected: str) -> None:
        """See `Backend`. Object stores have no conditional delete: a write that falls between
        the check and the delete is lost, the one place where that can happen.
        """
        found = self.read_ref(path)
        if found is None or found.version != expected:
            raise Conflict(f"{path} was changed by another writer")
        self.delete(path)

    @contextlib.contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        try:
            yield
        except (exceptions.NotFoundError, FileNotFoundError) as error:
            if "NoSuchBucket" in str(error):
                raise StorageError(
                    f"the bucket of {self.url} does not exist", hint="Make it first."
                ) from error
            raise MissingFile(path) from error
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as error:
            raise Conflict(f"{path} was changed by another writer") from error
        except (exceptions.BaseError, OSError) as error:
            said = str(error).lower()
            if ("416" in said and "range" in said) or ("range" in said and "start" in said):
                raise _truncated(path, None) from error
            raise StorageError(
                f"{self.url} cannot be reached or refuses: {_first_line(error)}",
                hint="Check the network, the credentials and the endpoint; nothing was changed.",
            ) from error


def _version(meta: Any) -> str:
    return str(meta["e_tag"] or "")


def _time(meta: Any) -> int:
    return int(meta["last_modified"].timestamp() * 1_000_000)


def _truncated(path: str, end: int | None) -> CorruptData:
    where = f": it ends before byte {end:,}" if end is not None else ""
    return CorruptData(
        f"{path} is truncated{where}", hint="Run `datasnap verify` to see what is lost."
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
