"""From an idea to production and back: a branch with a new feature, a model of each branch, the
better one merged and promoted, and rolled back.

    python features.py FOLDER     # makes a repository there; needs scikit-learn

Each step says which verb of the command line does the same.
"""

import subprocess
import sys
from pathlib import Path

import datasnap
from datasnap import Repository

TRAIN = Path(__file__).with_name("train.py")
RIDES = """
    CREATE TABLE rides AS
    WITH drawn AS (
        SELECT i AS ride_id,
               abs(sin(i * 12.9898) * 43758.5453) % 1 AS a,
               abs(sin(i * 78.233) * 24634.6345) % 1 AS b,
               abs(sin(i * 39.425) * 36245.9123) % 1 AS c
        FROM range(3000) numbers(i)
    )
    SELECT ride_id, 1 + 19 * a AS km, (1 + 19 * a) * (1.5 + 3 * b) AS minutes,
           (ride_id % 24)::TINYINT AS hour,
           (1.5 + 3 * b + 1.5 * (c - 0.5) < 3)::TINYINT AS tipped
    FROM drawn ORDER BY ride_id
"""


def train(repo: Repository, name: str, revision: str, folder: Path) -> None:
    """datasnap run --name NAME -- python train.py REVISION"""
    datasnap_run = [sys.executable, "-m", "datasnap", "run", "--name", name, "--"]
    subprocess.run([*datasnap_run, sys.executable, TRAIN, revision], cwd=folder, check=True)
    run = repo.run_record(name)
    print(f"{name}: AUC {run.metrics['auc']:.3f}, of snapshot {(run.snapshot or '')[:12]}")


def main(folder: Path) -> None:
    repo = datasnap.init(folder)

    print("\n# Rides: those who get on quickly tip")
    with repo.transaction("main", message="rides of January") as tx:  # datasnap sql "CREATE …"
        tx.execute(RIDES)
        tx.set_key("rides", "ride_id")
    train(repo, "on-main", "main", folder)
    repo.register_model("tips", "on-main")  # datasnap model register tips on-main
    repo.promote_model("tips@production")  # datasnap model promote tips@production

    print("\n# An idea, on a branch of its own: how quick was the ride?")
    repo.branch("exp/speed")  # datasnap branch exp/speed
    with repo.transaction("exp/speed", message="feature: speed in km/h") as tx:
        tx.add_columns("rides", {"speed": "km / minutes * 60"})  # datasnap add-column rides …
    train(repo, "on-branch", "exp/speed", folder)

    print("\n# What changed in data and outcome")
    found = repo.compare_runs("on-main", "on-branch")  # datasnap runs compare on-main on-branch
    for metric in found.metrics:
        print(f"{metric.name}: {metric.a:.4g} → {metric.b:.4g}")
    for table in found.data:
        added = table.changes.columns_added if table.changes else ()
        print(f"{table.name}: new columns: {', '.join(added)}")

    print("\n# The better one goes to main, and its model to production")
    if repo.best_run("auc").name == "on-branch":  # datasnap runs best --metric auc
        repo.merge("exp/speed", into="main")  # datasnap merge exp/speed
        repo.register_model("tips", "on-branch")
        move = repo.promote_model("tips@production")
        print(f"tips@production is at version {move.after.version}, run {move.after.run}")
    print("main has the columns", ", ".join(repo.table("rides@main").schema.names))

    print("\n# It fails out there: back to what was there before")
    move = repo.rollback_model("tips@production")  # datasnap model rollback tips@production
    print(f"tips@production is at version {move.after.version}, run {move.after.run}")
    repo.model("tips@production").save_to(folder / "production.joblib")  # datasnap model save …
    for change in repo.reflog("model:tips/production"):  # datasnap reflog model:tips/production
        print(f"  {change.time:%H:%M:%S} {change.who.partition(' <')[0]}: {change.verb}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("use: python features.py FOLDER (a repository is made there)")
    main(Path(sys.argv[1]))
