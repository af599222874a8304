"""Packages that only some need: each comes with an extra, and is asked for when it is used."""

from __future__ import annotations

from importlib.util import find_spec

from datasnap.errors import UsageError


def require(package: str, *, extra: str | None = None) -> None:
    """See that a package is installed.

    Args:
        package: by the name that is imported.
        extra: what brings it; None: the extra of its name.

    Raises:
        UsageError: it is not.
    """
    try:
        found = find_spec(package)
    except ModuleNotFoundError:  # the one around it
        found = None
    if found is None:
        raise UsageError(
            f"{package} is not installed", hint=f"pip install 'datasnap[{extra or package}]'"
        )
