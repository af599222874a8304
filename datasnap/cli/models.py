"""The verb for models and their stages: model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from datasnap.cli.options import Json, the_repository
from datasnap.cli.output import hint, plain, print_json, print_table, say, size, when
from datasnap.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from datasnap.ml.models import Model, ModelVersion, StageMove
    from datasnap.repository import Repository


def model(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ACTION]",
            help="register NAME RUN; promote NAME@STAGE [VERSION or RUN]; rollback NAME[@STAGE]; "
            "save NAME[@STAGE or @VERSION] PATH; list [NAME]. None: list the models. To promote "
            "and to save is meant the newest version, unless it is said; to roll back, production.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Register: also a run that has not ended.")
    ] = False,
    json: Json = False,
) -> None:
    """Name the models that runs made, and say which is in production; roll that back.

    Who moved a stage, when and why: datasnap reflog model:NAME/STAGE.
    """
    verb, *rest = words or ["list"]
    if verb not in _ACTIONS:
        raise UnknownName("action", verb, _ACTIONS)
    action, needed, more = _ACTIONS[verb]
    if not len(needed) <= len(rest) <= len(needed) + len(more):
        expected = [*needed, *(f"[{word}]" for word in more)]
        raise UsageError(f"say: datasnap model {' '.join([verb, *expected])}")
    if force and verb != "register":
        raise UsageError(f"--force does not belong to {verb}", hint="datasnap model --help")
    action(the_repository(), rest, _Asked(force, json))


class _Asked(NamedTuple):
    """What the options said."""

    force: bool
    json: bool


def _list(repository: Repository, rest: Sequence[str], asked: _Asked) -> None:
    found = repository.models()
    if rest:
        known = [each.name for each in found]
        if rest[0] not in known:
            raise UnknownName("model", rest[0], known)
        found = [each for each in found if each.name == rest[0]]
    if asked.json:
        print_json([_model_json(each) for each in found])
    elif not found:
        say("No model was registered yet")
        hint("Next: datasnap model register NAME RUN")
    elif rest:
        _print_versions(found[0])
    else:
        rows = [[each.name, f"{each.versions[0].version}", _stages(each)] for each in found]
        print_table(["=model", ">newest", "stages"], rows)


def _register(repository: Repository, rest: Sequence[str], asked: _Asked) -> None:
    made = repository.register_model(rest[0], rest[1], force=asked.force)
    if asked.json:
        print_json(_version_json(made))
        return
    say(f"[bold]{plain(made.name)}[/] version {made.version} is run {made.run}")
    hint(f"Next: datasnap model promote {plain(made.name)}@production")


def _promote(repository: Repository, rest: Sequence[str], asked: _Asked) -> None:
    _print_move(repository.promote_model(rest[0], *rest[1:]), asked)


def _rollback(repository: Repository, rest: Sequence[str], asked: _Asked) -> None:
    _print_move(repository.rollback_model(rest[0]), asked)


def _save(repository: Repository, rest: Sequence[str], asked: _Asked) -> None:
    found = repository.model(rest[0])
    found.save_to(rest[1])
    if asked.json:
        print_json({**_version_json(found), "artifact": found.artifact})
    else:
        what = f"{plain(found.name)} version {found.version}"
        say(f"Wrote {plain(rest[1])}, {size(found.artifact.size)}: {what}, run {found.run}")


def _print_move(move: StageMove, asked: _Asked) -> None:
    if asked.json:
        sides = {"before": move.before, "after": move.after}
        shown = {side: each and _version_json(each) for side, each in sides.items()}
        print_json({"name": move.name, "stage": move.stage, **shown})
        return
    was = f"; it was at version {move.before.version}" if move.before else ""
    stage = f"[bold]{plain(move.name)}@{plain(move.stage)}[/]"
    say(f"{stage} is at version {move.after.version}, run {move.after.run}{was}")
    if move.before:
        hint(f"And back: datasnap model rollback {plain(move.name)}@{plain(move.stage)}")


def _print_versions(model: Model) -> None:
    at = dict.fromkeys(model.versions, "")
    for stage, version in model.stages.items():
        at[version] = ", ".join(filter(None, [at.get(version, ""), stage]))
    rows = [
        [f"{each.version}", each.run, when(each.time), each.who.partition(" <")[0], stages]
        for each, stages in at.items()
    ]
    print_table([">version", "=run", "=registered", "who", "stages"], rows)


def _stages(model: Model) -> str:
    return ", ".join(f"{stage} {each.version}" for stage, each in model.stages.items())


def _model_json(model: Model) -> dict[str, object]:
    return {
        "name": model.name,
        "versions": [_version_json(each) for each in model.versions],
        "stages": {stage: each.version for stage, each in model.stages.items()},
    }


def _version_json(version: ModelVersion) -> dict[str, object]:
    names = ("name", "version", "run", "snapshot", "who", "time")
    return {name: getattr(version, name) for name in names}


_Action = Callable[["Repository", Sequence[str], _Asked], None]
#: What each does, the words that it needs, and those that it may have.
_ACTIONS: dict[str, tuple[_Action, tuple[str, ...], tuple[str, ...]]] = {
    "register": (_register, ("NAME", "RUN"), ()),
    "promote": (_promote, ("NAME@STAGE",), ("VERSION or RUN",)),
    "rollback": (_rollback, ("NAME@STAGE",), ()),
    "save": (_save, ("NAME@STAGE", "PATH"), ()),
    "list": (_list, (), ("NAME",)),
}
