from __future__ import annotations

from bridge.cli.findings import Finding, Findings, Verdict


def test_each_finding_is_reported_at_once_and_counted() -> None:
    heard: list[Finding] = []
    findings = Findings(on_finding=heard.append)
    findings.passed("a", "fine")
    findings.failed("b", "broken", "mend it")
    findings.failed("c", "broken", "mend it")
    findings.skipped("d", "no way to try")
    assert heard == findings.all
    assert heard[1] == Finding(Verdict.FAIL, "b", "broken", "mend it")
    assert [findings.count(verdict) for verdict in Verdict] == [1, 2, 1]


def test_findings_need_no_listener() -> None:
    findings = Findings()
    findings.passed("a", "fine")
    assert findings.count(Verdict.PASS) == 1


def test_each_line_of_one_of_several_call_centres_names_it() -> None:
    told: list[Finding] = []
    findings = Findings(told.append)
    about = findings.about("best")
    about.passed("WebChat login", "as mx-doctor")
    findings.about("").skipped("database", "later")
    assert [one.what for one in told] == ["best: WebChat login", "database"]
    assert findings.all == told
