"""Results of checks as metadata: what a person needs, as text, and no more than a partition may store."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tenant_migration.integrity.model import CheckResult, Outcome
from tenant_migration.orchestration import check_metadata
from tenant_migration.orchestration.check_metadata import LINES_MOST, QUERIES_MOST, check_table, of_checks
from tenant_migration.orchestration.checks import VERIFICATION, checks_on, judge, judge_drift
from tenant_migration.orchestration.metadata import markdown_table

PASSED = CheckResult(
    name="nothing_lost",
    phase="post-migration",
    table="public.claims",
    outcome=Outcome.PASSED,
    severity="critical",
    description="Rows that are gone",
    rows_checked=7,
    count=0,
    duration_ms=1.5,
)
FAILED = replace(
    PASSED,
    outcome=Outcome.FAILED,
    count=3,
    examples=("id=1", "id=2"),
    reproduce="SELECT 1",
    details={"tenants": {"alpha": 1, "beta": 2}},
)
ERRORED = replace(PASSED, outcome=Outcome.ERRORED, reason="too slow")


def lines(value: object) -> list[str]:
    return str(value).splitlines()[2:]


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("a|b", "a\\|b"),
        ("<img src=x onerror=alert(1)>", "\\<img src=x onerror=alert(1)\\>"),
        ("[x](javascript:alert(1))", "\\[x\\](javascript:alert(1))"),
        ("`code` *bold* ~~gone~~", "\\`code\\` \\*bold\\* \\~\\~gone\\~\\~"),
        ("&lt;", "\\&lt;"),
        ("back\\slash", "back\\\\slash"),
        ("two\nlines", "two lines"),
        ("\u202egnorw\u00a0", "\\\\u202egnorw\\\\xa0"),
        ("Größe 10 €", "Größe 10 €"),
        ("O'Brien_Local", "O'Brien_Local"),
    ],
)
def test_what_a_cell_holds_stays_text(cell: str, shown: str) -> None:
    assert lines(markdown_table(("head",), [(cell,)]).value) == [f"| {shown} |"]


def test_what_stands_against_the_table_comes_first_with_keys_and_query() -> None:
    table = check_table([PASSED, FAILED, ERRORED])
    assert [line.split(" | ")[2] for line in lines(table["results"].value)] == ["errored", "failed", "passed"]
    assert "Rows that are gone (id=1, id=2)" in str(table["results"].value)
    assert "too slow" in str(table["results"].value)
    assert "```sql\nSELECT 1\n```" in str(table["reproduce"].value)
    assert "reproduce" not in check_table([PASSED])


def test_a_query_with_backticks_stays_in_its_fence() -> None:
    text = str(check_table([replace(FAILED, reproduce="SELECT '````'")])["reproduce"].value)
    assert "`````sql\nSELECT '````'\n`````" in text


def test_a_table_of_very_many_checks_ends_and_says_so() -> None:
    table = check_table([PASSED] * LINES_MOST + [FAILED] * (QUERIES_MOST + 1))
    assert len(lines(table["results"].value)) == LINES_MOST + 1
    assert f"{QUERIES_MOST + 1} more in the report" in lines(table["results"].value)[-1]
    assert str(table["reproduce"].value).count("SELECT 1") == QUERIES_MOST
    assert str(table["reproduce"].value).endswith("1 more in the report")


def test_in_short_what_passed_is_one_line() -> None:
    checks = [PASSED, replace(PASSED, name="other"), FAILED]
    short = of_checks(checks, in_full=False)
    assert [line.split(" | ")[0] for line in lines(short["results"].value)] == ["| failed", "| passed"]
    assert "nothing_lost, other" in str(short["results"].value)
    assert "reproduce" not in short
    assert {name: value.value for name, value in short.items() if name != "results"} == {
        name: value.value for name, value in of_checks(checks).items() if name not in ("results", "reproduce")
    }


def test_a_tenant_sees_its_own_count_and_no_keys_of_others() -> None:
    [alpha] = checks_on([FAILED], "alpha")
    assert (alpha.outcome, alpha.count, alpha.examples) == (Outcome.FAILED, 1, ())
    [gamma] = checks_on([FAILED], "gamma")
    assert (gamma.outcome, gamma.count, gamma.reproduce) == (Outcome.PASSED, 0, None)
    alone = replace(FAILED, details={"tenants": {"alpha": 3}})
    assert checks_on([alone], "alpha") == (alone,)
    of_nobody = replace(FAILED, details={})
    assert checks_on([of_nobody, ERRORED], "gamma") == (of_nobody, ERRORED)


def test_drift_that_only_warns_fails_the_tenant_that_it_names() -> None:
    warning = replace(FAILED, severity="warning")
    for tenant, passed in (("alpha", False), ("gamma", True)):
        verdict = judge_drift(VERIFICATION, checks_on([PASSED, warning], tenant), tenant, in_full=True)
        assert verdict.passed is passed
    assert judge(VERIFICATION, checks_on([PASSED, warning], "alpha")).passed, "it stops no migration"
    critical = judge_drift(VERIFICATION, checks_on([FAILED, warning], "alpha"), "alpha", in_full=True)
    assert critical.severity.value == "ERROR"
    assert not judge_drift(VERIFICATION, [], "alpha", in_full=True).passed


def test_a_report_shows_its_verdict_and_what_to_do() -> None:
    report = {
        "status": "fail",
        "totalIssues": 1,
        "criticalIssues": 1,
        "warningIssues": 0,
        "issues": [
            {"severity": "critical", "table": "t", "description": "x", "count": 3, "exampleIds": ["1"]}
        ],
        "recommendations": ["mend it"],
    }
    shown = check_metadata.of_report(report, [FAILED])
    assert shown["status"].value == "fail"
    assert lines(shown["issue_list"].value) == ["| critical | t | x | 3 | 1 |"]
    assert lines(shown["recommendations"].value) == ["| mend it |"]
