"""The example of `scripts/examples`, as somebody runs it who tries it out."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

import datasnap
from datasnap.ml.runs.folders import hash_path

EXAMPLE = Path(__file__).parents[2] / "scripts" / "examples" / "features.py"


def test_the_example_goes_from_an_idea_to_production_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(tmp_path)])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert "rides: new columns: speed" in capfd.readouterr().out
    repo = datasnap.open(tmp_path)
    after, before = repo.runs()
    assert (before.name, after.name) == ("on-main", "on-branch")
    # Each read its own branch: the model of the branch is better by the feature.
    assert "speed" not in repo.snapshot(before.snapshot or "").table("rides").schema.names
    assert "speed" in repo.snapshot(after.snapshot or "").table("rides").schema.names
    assert after.metrics["features"] == before.metrics["features"] + 1
    assert after.metrics["auc"] > before.metrics["auc"] + 0.01
    # It was merged, and promoted, and rolled back.
    assert repo.resolve("main") == repo.resolve("exp/speed")
    assert [each.run for each in repo.models()[0].versions] == [after.id, before.id]
    assert repo.model("tips@production").run == before.id
    verbs = [change.verb for change in repo.reflog("model:tips/production")]
    assert verbs == ["rollback", "promote", "promote"]
    assert before.model is not None
    assert hash_path(tmp_path / "production.joblib") == before.model.hash
