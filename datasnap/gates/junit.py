"""A report as JUnit XML, which every CI service can show."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from datasnap.gates.report import CheckReport, CheckResult


def junit_xml(report: CheckReport) -> bytes:
    """A suite with a case for each result. What failed and may is a case that passes, with the
    warning as its output: JUnit knows no warnings."""
    results, failed = report.results, report.failed
    counts = {
        "tests": len(results),
        "failures": sum(one.outcome == "failed" for one in failed),
        "errors": sum(one.outcome == "error" for one in failed),
        "skipped": sum(one.outcome == "skipped" for one in results),
    }
    attributes = {name: str(count) for name, count in counts.items()}
    suites = ET.Element("testsuites", {"name": "datasnap check", **attributes})
    suite = ET.SubElement(suites, "testsuite", {"name": report.snapshot, **attributes})
    for result in results:
        case = ET.SubElement(
            suite, "testcase", {"classname": _clean(result.check), "name": _name(result)}
        )
        if result.outcome == "skipped":
            ET.SubElement(case, "skipped", {"message": _clean(result.message)})
        elif result in failed:
            kind = "error" if result.outcome == "error" else "failure"
            inner = ET.SubElement(case, kind, {"message": _clean(what_is_wrong(result))})
            inner.text = _clean(_examples(result))
        elif result.bad:
            text = f"warning: {what_is_wrong(result)}\n{_examples(result)}"
            ET.SubElement(case, "system-out").text = _clean(text)
    ET.indent(suites)
    document: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return document


def what_is_wrong(result: CheckResult) -> str:
    """What is wrong, in a line."""
    if result.rows is None:
        return result.message
    return f"{result.rows:,} row{'s' * (result.rows != 1)}"


def _name(result: CheckResult) -> str:
    return _clean(result.rule or result.check)


def _examples(result: CheckResult) -> str:
    if result.examples is None:
        return ""
    rows = result.examples.to_pylist()
    lines = (", ".join(f"{name}={value}" for name, value in row.items()) for row in rows)
    return "\n".join(lines)


def _clean(text: str) -> str:
    """A text without the characters that XML cannot have."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)
