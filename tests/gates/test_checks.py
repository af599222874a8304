"""Checks: what holds, what does not, what is not asked again."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from datasnap.errors import BadInput, UsageError
from datasnap.gates.report import CheckReport, CheckResult
from datasnap.gates.rules import parse_rules
from datasnap.repository import Repository
from tests.conftest import write

RIDES = pa.table(
    {
        "id": [1, 2, 3, 4],
        "fare": [5.0, 7.5, 9.0, None],
        "place": ["a", "b", "b", "C"],
        "day": pa.array([0, 1, 2, 3], pa.date32()),
    }
)


def contract(body: str) -> str:
    return f'[[contract]]\ntable = "rides"\n{body}'


def column(name: str, body: str) -> str:
    return contract(f"[contract.columns.{name}]\n{body}")


def query(sql: str, more: str = "") -> str:
    return f'[[check]]\nname = "it"\nsql = """{sql}"""\n{more}'


@pytest.fixture
def filled(repo: Repository) -> Repository:
    write(repo, "rides", RIDES, key="id")
    return repo


def run(repo: Repository, text: str, ref: str = "HEAD", **options: object) -> CheckReport:
    """Set checks as a user would, and run them."""
    repo.set_checks(text)
    return repo.check(ref, **options)  # type: ignore[arg-type]


def only(report: CheckReport) -> CheckResult:
    (result,) = report.results
    return result


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (column("id", 'type = "int64"'), "id is int64"),
        (column("id", 'type = "INT8"'), "id is INT8"),
        (column("fare", 'type = "double"'), "fare is double"),
        (column("place", 'type = "VARCHAR"'), "place is VARCHAR"),
        (column("day", 'type = "date32[day]"'), "day is date32[day]"),
        (column("id", "nullable = false"), "id is not null"),
        (column("id", "unique = true"), "id is unique"),
        (column("day", "unique = true"), "day is unique"),
        (column("fare", "min = 5"), "fare ≥ 5"),
        (column("fare", "max = 9.0"), "fare ≤ 9"),
        (column("day", "min = 1970-01-01"), "day ≥ 1970-01-01"),
        (column("place", 'values = ["a", "b", "C"]'), "place is one of 'a', 'b', 'C'"),
        (column("place", "matches = '^[a-zA-Z]$'"), "place matches ^[a-zA-Z]$"),
        (contract("rows = { min = 4 }"), "rows ≥ 4"),
        (contract("rows = { max = 4 }"), "rows ≤ 4"),
        (contract('unique = [["place", "fare"]]'), "(place, fare) is unique"),
    ],
)
def test_a_rule_that_holds(filled: Repository, text: str, rule: str) -> None:
    result = only(run(filled, text))
    assert (result.rule, result.outcome, result.message) == (rule, "passed", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (column("id", 'type = "int8"'), "it is int64 (BIGINT in SQL)"),
        (column("fare", 'type = "DECIMAL(9, 2)"'), "it is double (DOUBLE in SQL)"),
        (column("tip", "nullable = false"), "there is no such column"),
        (contract('unique = [["id", "tip"]]'), "there is no column 'tip'"),
        (contract("rows = { min = 5 }"), "there are 4"),
        (contract("rows = { max = 3 }"), "there are 4"),
        (
            contract("extra_columns = false\n[contract.columns]\nid = {}\nfare = {}"),
            "there are more: place, day",
        ),
    ],
)
def test_a_rule_of_the_whole_table_that_is_broken(
    filled: Repository, text: str, message: str
) -> None:
    report = run(filled, text)
    assert not report.ok
    (result,) = report.failed
    assert (result.outcome, result.message, result.rows) == ("failed", message, None)


@pytest.mark.parametrize(
    ("text", "rows", "examples"),
    [
        (column("fare", "nullable = false"), 1, [{"id": 4, "fare": None}]),
        (column("fare", "min = 6"), 1, [{"id": 1, "fare": 5.0}]),
        (column("fare", "max = 7"), 2, [{"id": 2, "fare": 7.5}, {"id": 3, "fare": 9.0}]),
        (column("place", 'values = ["a", "b"]'), 1, [{"id": 4, "place": "C"}]),
        (column("place", "matches = '^[a-z]$'"), 1, [{"id": 4, "place": "C"}]),
        (column("place", "unique = true"), 2, [{"place": "b", "rows": 2}]),
        (column("id", "min = 10"), 4, [{"id": 1}, {"id": 2}, {"id": 3}]),
    ],
)
def test_rows_that_break_a_rule_are_counted_and_shown(
    filled: Repository, text: str, rows: int, examples: list[dict[str, object]]
) -> None:
    result = only(run(filled, text))
    assert (result.outcome, result.rows) == ("failed", rows)
    assert result.examples is not None
    assert result.examples.to_pylist() == examples


def test_a_query_must_return_no_rows(filled: Repository) -> None:
    assert only(run(filled, query("SELECT * FROM rides WHERE fare < 0"))).outcome == "passed"
    result = only(run(filled, query("SELECT fare, id FROM rides WHERE fare > 6 ORDER BY fare")))
    assert (result.outcome, result.rows) == ("failed", 2)
    assert result.examples is not None
    assert result.examples.column_names == ["id", "fare"]  # the key first
    assert result.examples["id"].to_pylist() == [2, 3]


def test_many_rows_that_break_a_rule_are_counted_and_a_few_are_shown(repo: Repository) -> None:
    write(repo, "rides", pa.table({"id": range(200_000)}), key="id")
    result = only(run(repo, query("SELECT * FROM rides WHERE id >= 10")))
    assert result.rows == 199_990
    assert result.examples is not None
    assert result.examples.num_rows == 3


def test_a_query_can_ask_for_the_version_before(filled: Repository) -> None:
    lost = query("SELECT id FROM before.rides ANTI JOIN rides USING (id)")
    result = only(run(filled, lost))
    assert (result.outcome, result.message) == ("skipped", "there is no 'rides' before")
    with filled.transaction() as tx:
        tx.delete("rides", "id = 2")
    result = only(filled.check())
    assert result.examples is not None
    assert result.examples.to_pylist() == [{"id": 2}]
    assert only(filled.check(against="HEAD", everything=True)).outcome == "passed"


def test_what_cannot_be_told_counts_as_failed(filled: Repository) -> None:
    report = run(filled, query("SELECT * FROM rides WHERE tip > 0"))
    assert not report.ok
    assert only(report).outcome == "error"
    assert "tip" in only(report).message
    bound = run(filled, column("place", "min = 3\nmatches = 'a|b|C'"))
    assert [one.outcome for one in bound.results] == ["error", "passed"]  # each on its own


def test_a_table_that_never_was_is_said_and_fails_when_all_is_checked(filled: Repository) -> None:
    for text in (query("SELECT * FROM zones"), '[[contract]]\ntable = "zones"'):
        result = only(run(filled, text))
        assert (result.outcome, result.message) == ("skipped", "there is no 'zones'")
        (result,) = filled.check(everything=True).failed
        assert result.message == "there is no table 'zones'"


def test_a_warning_is_no_failure_unless_it_is_to_be_strict(filled: Repository) -> None:
    text = query("SELECT * FROM rides", 'severity = "warning"')
    report = run(filled, text)
    assert report.ok
    assert report.warnings == report.results
    strict = filled.check(strict=True)
    assert not strict.ok
    assert strict.failed == strict.results
    assert strict.warnings == ()


def test_a_columns_severity_is_its_own(filled: Repository) -> None:
    report = run(
        filled,
        column("fare", 'min = 6\nseverity = "warning"') + "\n[contract.columns.id]\nmin = 2",
    )
    assert [one.rule for one in report.warnings] == ["fare ≥ 6"]
    assert [one.rule for one in report.failed] == ["id ≥ 2"]


def test_an_optional_column_may_be_missing(filled: Repository) -> None:
    assert run(filled, column("tip", "optional = true\nmin = 0")).results == ()
    assert only(run(filled, column("fare", "optional = true\nmin = 0"))).outcome == "passed"


def test_nulls_break_no_bound_and_are_not_compared(repo: Repository) -> None:
    write(repo, "rides", pa.table({"x": pa.array([None, None, 1], pa.int64())}))
    report = run(repo, column("x", "min = 1\nmax = 1\nvalues = [1]\nunique = true"))
    assert [one.outcome for one in report.results] == ["passed"] * 4


def test_names_and_texts_cannot_leave_their_place(repo: Repository) -> None:
    odd = "a\"b') FROM x; --"
    write(repo, "rides", pa.table({"id": [1], odd: ["it's"]}))
    name = odd.replace('"', '\\"')
    report = run(repo, contract(f'[contract.columns."{name}"]\nvalues = ["it\'s"]\nunique = true'))
    assert [one.outcome for one in report.results] == ["passed"] * 2


@pytest.mark.parametrize(
    ("body", "outcome", "message"),
    [
        ("rows = 0.5", "passed", ""),
        ("rows = 0.1", "failed", "4 → 5 (+25.0 %)"),
        ('columns = ["fare"]\nmean = 0.5', "passed", ""),
        ('columns = ["fare"]\nmean = 0.1', "failed", "7.167 → 5.375 (−25.0 %)"),
        ('columns = ["fare"]\nnulls = 0.1', "passed", ""),
        ('columns = ["fare"]\nnulls = 0.01', "failed", "25.0 % → 20.0 %"),
        ('columns = ["place"]\ndistinct = 0.2', "passed", ""),
        ('columns = ["place"]\ndistinct = 0.1', "failed", "75.0 % → 60.0 %"),
        ('columns = ["tip"]\nmean = 1.0', "failed", "there is no such column"),
    ],
)
def test_a_table_may_drift_so_far_and_no_further(
    filled: Repository, body: str, outcome: str, message: str
) -> None:
    with filled.transaction() as tx:
        row = {"id": [5], "fare": [0.0], "place": ["b"], "day": RIDES["day"][:1]}
        tx.append("rides", pa.table(row))
    result = only(run(filled, contract(f"[[contract.drift]]\n{body}")))
    assert (result.outcome, result.message) == (outcome, message)


def test_a_tenth_more_is_within_ten_percent(repo: Repository) -> None:
    write(repo, "rides", pa.table({"id": range(10)}))
    write(repo, "rides", pa.table({"id": range(11)}))
    assert only(run(repo, contract("[[contract.drift]]\nrows = 0.1"))).outcome == "passed"


def test_drift_of_what_is_new_is_not_asked_for(filled: Repository) -> None:
    text = contract('[[contract.drift]]\ncolumns = ["tip"]\nmean = 0.1')
    result = only(run(filled, text))
    assert (result.outcome, result.message) == ("skipped", "there is no 'rides' before")
    with filled.transaction() as tx:
        tx.add_columns("rides", {"tip": "1"})
    assert only(filled.check()).message == "there is no 'tip' before"


def test_checks_of_tables_that_did_not_change_are_skipped(filled: Repository) -> None:
    write(filled, "zones", pa.table({"zone": ["a"]}))
    text = "\n".join(
        [
            '[[check]]\nname = "one"\nsql = "SELECT * FROM Rides"',
            '[[check]]\nname = "two"\nsql = "WITH x AS (SELECT * FROM zones) SELECT * FROM x"',
            '[[check]]\nname = "told"\nsql = "SELECT * FROM rides"\ntables = ["zones"]',
            "[[check]]\nname = \"wide\"\nsql = \"SELECT * FROM snapshot('rides', 'main~1')\"",
            '[[contract]]\ntable = "rides"\nrows = { min = 9 }',
            '[[contract]]\ntable = "zones"\nrows = { min = 9 }',
            '[[contract]]\ntable = "nowhere"',
        ]
    )
    report = run(filled, text)
    skipped = {one.check: one.message for one in report.results if one.outcome == "skipped"}
    before = filled.resolve("HEAD~1").hex()[:12]
    assert skipped == {
        "one": f"unchanged since {before}",
        "rides": f"unchanged since {before}",
        "nowhere": "there is no 'nowhere'",
    }
    assert report.failed_checks == ["two", "told", "wide", "zones"]
    assert not [one for one in filled.check(everything=True).results if one.outcome == "skipped"]
    against_first = filled.check("HEAD", against="HEAD~1")
    assert against_first.results[0].outcome == "skipped"


def test_a_table_that_was_dropped_breaks_its_contract(filled: Repository) -> None:
    filled.set_checks(contract("rows = { min = 1 }"))
    with filled.transaction() as tx:
        tx.drop("rides")
    assert only(filled.check()).message == "there is no table 'rides'"


def test_checks_reach_no_files_and_no_network(filled: Repository, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    for sql in (
        f"SELECT * FROM read_csv('{secret}')",
        f"SELECT * FROM read_text('{secret}')",
        f"SELECT * FROM '{secret}'",
        "SELECT * FROM read_csv('http://127.0.0.1:9/x.csv')",
        "SELECT * FROM glob('/*')",
    ):
        result = only(run(filled, query(sql), everything=True))
        assert result.outcome == "error", sql
        assert result.examples is None


def test_checks_are_kept_listed_and_removed(filled: Repository) -> None:
    assert filled.checks().names == []
    text = query("SELECT 1") + contract("rows = { min = 1 }")
    filled.set_checks(text)
    assert filled.checks().names == ["it", "rides"]
    assert filled.checks_text() == text
    filled.unset_checks()
    assert filled.checks().names == []
    assert filled.check().results == ()
    with pytest.raises(UsageError):
        filled.unset_checks()


def test_checks_of_a_file_can_be_tried_before_they_are_set(filled: Repository) -> None:
    report = filled.check(rules=parse_rules(query("SELECT * FROM rides")))
    assert not report.ok
    assert filled.checks().names == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = ", "is not valid TOML"),
        ("[[checks]]", "unknown section 'checks'"),
        ("check = 3", "'check' is no list"),
        (query("SELECT", "colour = 1"), "the check 'it': there is no key `colour`"),
        (query("SELECT 1", 'severity = "fatal"'), "the check 'it': Invalid enum value 'fatal'"),
        ('[[check]]\nname = "it"', "the check 'it': it lacks the key `sql`"),
        ('[[check]]\nsql = "x"', "check number 1: it lacks the key `name`"),
        (query("SELEC 1"), "the check 'it': Parser Error"),
        (query("DROP TABLE rides"), "the check 'it': its SQL is not one SELECT"),
        (query("SELECT 1; SELECT 2"), "the check 'it': its SQL is not one SELECT"),
        (query("SELECT 1") + query("SELECT 2"), "two checks are called 'it'"),
        (contract("rows = 3"), "the contract 'rides': Expected `object`"),
        (column("id", 'type = "INTEGRE"'), "'rides': column 'id' has an unknown type 'INTEGRE'"),
        (column("id", "matches = '('"), "'rides': column 'id' has no valid pattern"),
        (column("id", "min = [1]"), "'rides': [1] is no number"),
        (column("id", "min = nan"), "'rides': nan is no bound"),
        (contract("[[contract.drift]]\nmean = 0.1"), "'rides': a drift says no columns"),
        (contract("[[contract.drift]]"), "'rides': a drift says nothing that is limited"),
        (contract("[[contract.drift]]\nrows = -1"), "'rides': a drift cannot be limited to less"),
    ],
)
def test_checks_that_make_no_sense_are_not_set(filled: Repository, text: str, said: str) -> None:
    with pytest.raises(BadInput) as error:
        filled.set_checks(text)
    assert said in error.value.message
    assert filled.checks().names == []


def test_the_example_holds_for_the_tour(repo: Repository) -> None:
    text = Path("config/checks.toml").read_text("utf-8")
    repo.set_checks(text)
    with duckdb.connect() as connection:
        table = connection.sql(
            "SELECT i AS ride_id, TIMESTAMP '2026-01-01' + INTERVAL (i) MINUTE AS started, "
            "round(5 + (i * 7919 % 4000) / 100, 2) AS fare, "
            "round(1 + (i * 31 % 190) / 10, 1) AS km FROM range(1, 5001) t(i)"
        ).to_arrow_table()
    write(repo, "rides", table, key="ride_id")
    with repo.transaction() as tx:
        tx.update("rides", {"km": "km + 0.1"}, "ride_id % 100 = 0")
    report = repo.check()
    assert report.ok
    assert not report.warnings
    assert {one.outcome for one in report.results} == {"passed"}
    with repo.transaction() as tx:
        tx.update("rides", {"fare": "600"}, "ride_id = 7")
        tx.delete("rides", "ride_id = 8")
        tx.update("rides", {"km": "km * 2"})
    report = repo.check()
    assert [one.rule or one.check for one in report.failed] == ["rides are not lost", "fare ≤ 500"]
    assert [one.rule for one in report.warnings] == ["mean of km within 10 % of before"]
