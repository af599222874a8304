"""The house keeps its order: imports run downward, and each package stays what it is."""

from __future__ import annotations

import ast
from pathlib import Path

import datasnap

ROOT = Path(datasnap.__file__).parent

#: Lowest first; a module may import its own floor and those below it.
FLOORS = [
    ["errors"],
    ["config", "durations", "extras", "progress"],
    ["storage"],
    ["parquet"],
    ["snapshots"],
    ["tables"],
    ["diff"],
    ["history"],
    ["merge"],
    [
        *("edits", "export", "query", "transaction", "verify", "versions"),
        *("pending", "merges", "replay", "undo", "signing", "repository", "places"),
        *("gates", "lifecycle", "naming", "past", "ml", "mlflow"),
    ],
    ["cli"],
    ["__init__", "__main__"],
]

#: The same within `ml`.
ML_FLOORS = [
    ["runs", "models"],
    ["splits", "pins"],
    ["loaders"],
    ["tracing", "leaks"],
    ["reproducing", "mlflowsource", "resolvers", "settings", "torch"],
]


def floor_of(module: str) -> int:
    return next(i for i, floor in enumerate(FLOORS) if module in floor)


def imports(path: Path) -> list[str]:
    """Modules of datasnap that a file imports, less those for type checkers alone."""
    tree = ast.parse(path.read_text("utf-8"))
    skipped = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node not in skipped:
            found.append(node.module or "")
        elif isinstance(node, ast.Import) and node not in skipped:
            found += [alias.name for alias in node.names]
    return [name for name in found if name.partition(".")[0] == "datasnap"]


def test_imports_run_downward() -> None:
    wrong = []
    for path in ROOT.rglob("*.py"):
        own = path.relative_to(ROOT).with_suffix("").parts[0]
        for name in imports(path):
            other = name.split(".")[1] if "." in name else "__init__"
            if other != own and floor_of(other) > floor_of(own):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    # The command line asks for the version.
    assert wrong == ["cli/app.py imports datasnap"]


def test_imports_within_ml_run_downward() -> None:
    floors = {name: number for number, floor in enumerate(ML_FLOORS) for name in floor}
    own = {p.relative_to(ROOT / "ml").with_suffix("").parts[0] for p in ROOT.glob("ml/**/*.py")}
    assert own == {*floors, "__init__"}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in ROOT.glob("ml/*/**/*.py")
        for name in imports(path)
        if name.startswith("datasnap.ml.")
        and floors[name.split(".")[2]] > floors[path.relative_to(ROOT / "ml").parts[0]]
    ]
    assert wrong == []


def test_every_module_stands_on_a_floor() -> None:
    found = {p.relative_to(ROOT).with_suffix("").parts[0] for p in ROOT.rglob("*.py")}
    assert found == {module for floor in FLOORS for module in floor}


def test_only_the_parquet_floor_knows_thrift() -> None:
    users = [
        p
        for p in ROOT.rglob("*.py")
        if "thrift" in " ".join(imports(p)) or "import thrift" in p.read_text()
    ]
    assert {p.parent.name for p in users} == {"parquet"}


def test_every_file_says_what_it_is_and_stays_small() -> None:
    for path in ROOT.rglob("*.py"):
        text = path.read_text("utf-8")
        assert ast.get_docstring(ast.parse(text)), path
        assert len(text.splitlines()) <= 520, path


def test_public_names_exist_and_are_documented() -> None:
    for name in datasnap.__all__:
        assert getattr(datasnap, name).__doc__, name
    for cls in (
        datasnap.Repository,
        datasnap.Snapshot,
        datasnap.TableVersion,
        datasnap.Transaction,
    ):
        for name, member in vars(cls).items():
            if not name.startswith("_") and (callable(member) or isinstance(member, property)):
                assert member.__doc__, f"{cls.__name__}.{name}"
    assert set(datasnap.__all__) <= set(dir(datasnap))
