"""A verb's usage, help and errors, in plain words: TABLE rather than {TABLE} or TABLE <str>.

What typer makes of them differs between its versions; this asks it for the parameters alone.
"""

from __future__ import annotations

import re
from typing import Any

import typer
from typer.core import TyperCommand

#: What pydantic says of a value, and what that means.
_WORDS = [
    (re.compile(r"^Value error, "), ""),
    (re.compile(r"^Input should be a valid integer.*"), "it must be a whole number"),
    (re.compile(r"^Input should be a valid number.*"), "it must be a number"),
    (re.compile(r"^Input should be greater than or equal to (\S+)$"), r"it must be \1 or more"),
    (re.compile(r"^Input should be less than or equal to (\S+)$"), r"it must be \1 or less"),
    (re.compile(r"^Input should be "), "it must be "),
]


class Verb(TyperCommand):
    """A command whose arguments are named as its author wrote them."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The usage line: [OPTIONS] TABLE [REF]."""
        arguments = [param for param in self.get_params(ctx) if _is_argument(param)]
        return [self.options_metavar or "", *map(_in_usage, arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The lists of arguments and options."""
        arguments, options = [], []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            if _is_argument(param):
                arguments.append((_name(param), record[1].removesuffix("  [required]")))
            else:
                options.append(_option(*record))
        for title, rows in (("Arguments", arguments), ("Options", options)):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The words of the command line as values; see there."""
        try:
            return list(super().parse_args(ctx, args))
        except typer.BadParameter as error:
            for pattern, words in _WORDS:
                error.message = pattern.sub(words, error.message)
            raise


def _option(names: str, help: str) -> tuple[str, str]:
    """An option in the list; that a number is positive goes without saying."""
    names = re.sub(r"<(int|float)( range)?>", "N", names).replace("<str>", "TEXT")
    names = re.sub(r"<([^<>]*)>", r"\1", names)
    return names, re.sub(r"  \[x>=[01]\]$", "", help).replace("; x>=1]", "]")


def _is_argument(param: Any) -> bool:
    return bool(param.param_type_name == "argument")


def _name(argument: Any) -> str:
    name: str = argument.metavar or argument.name.upper()
    return name.removeprefix("[").removesuffix("]")


def _in_usage(argument: Any) -> str:
    name = _name(argument)
    if argument.nargs != 1 and not name.endswith(("…", "...")):
        name += "…"
    return name if argument.required else f"[{name}]"
