"""JUnit XML: what a CI service reads."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pyarrow as pa

from datasnap.gates.junit import junit_xml
from datasnap.repository import Repository
from tests.conftest import write

CHECKS = """
[[check]]
name = "good"
sql = "SELECT 1 WHERE false"
[[check]]
name = "bad <&>"
sql = "SELECT * FROM rides WHERE fare < 0"
[[check]]
name = "soft"
severity = "warning"
sql = "SELECT * FROM rides"
[[check]]
name = "untold"
sql = "SELECT nothing FROM rides"
[[check]]
name = "new"
sql = "SELECT * FROM before.rides"
[[contract]]
table = "rides"
columns.fare = { min = 0, nullable = false }
"""


def test_a_report_can_be_read_back(repo: Repository) -> None:
    place = pa.array(["\x1b[31m]]>", "ä\x00"])
    write(repo, "rides", pa.table({"id": [1, 2], "fare": [-1.0, 2.0], "place": place}), key="id")
    repo.set_checks(CHECKS)
    report = repo.check()
    root = ET.fromstring(junit_xml(report))
    (suite,) = root
    assert root.tag == "testsuites"
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "7", "failures": "2", "errors": "1", "skipped": "1"}
    assert suite.get("name") == report.snapshot
    cases = {(case.get("classname"), case.get("name")): case for case in suite}
    assert len(cases) == 7
    assert list(cases["good", "good"]) == []
    assert list(cases["rides", "fare is not null"]) == []
    (failure,) = cases["bad <&>", "bad <&>"]
    assert (failure.tag, failure.get("message")) == ("failure", "1 row")
    assert "id=1, fare=-1.0, place=�[31m]]>" in (failure.text or "")
    (warning,) = cases["soft", "soft"]
    assert warning.tag == "system-out"
    assert (warning.text or "").startswith("warning: 2 rows")
    assert cases["untold", "untold"][0].tag == "error"
    assert cases["new", "new"][0].get("message") == "there is no 'rides' before"


def test_a_strict_report_counts_warnings_as_failures(repo: Repository) -> None:
    write(repo, "rides", pa.table({"id": [1], "fare": [1.0]}))
    repo.set_checks(CHECKS)
    root = ET.fromstring(junit_xml(repo.check(strict=True)))
    assert root.get("failures") == "1"
