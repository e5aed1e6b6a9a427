"""Reports as files: JSON, a page for a browser, a table; and the grid of tables and tenants in them."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tenant_migration.errors import UsageError
from tenant_migration.integrity.by_tenant import TENANTS_MOST, grid, remark
from tenant_migration.integrity.model import CheckResult, Outcome
from tenant_migration.integrity.page.page import report_as_html
from tenant_migration.integrity.report import build_report
from tenant_migration.integrity.report_csv import COLUMNS, report_as_csv
from tenant_migration.integrity.report_file import FORMS, write_report

HOSTILE = (
    "O'Brien Local",
    '"><script>alert(1)</script>',
    "</td></tr></table><img src=x onerror=alert(1)>",
    "&lt;b&gt;",
    '=HYPERLINK("http://evil")',
    "@SUM(1)",
    "line\nbreak",
    "no\u00a0break",
    "\u202egnorw",
    " blanks ",
    "",
)
CLAIMS, PROFILES = "public.claims", "public.profiles"
PASSED = CheckResult(
    name="unique_collisions",
    phase="pre-migration",
    table=CLAIMS,
    outcome=Outcome.PASSED,
    severity="critical",
    description="Something is wrong",
    rows_checked=7,
    count=0,
    duration_ms=1.5,
)
FAILED = replace(PASSED, outcome=Outcome.FAILED, count=2, examples=("id=1", "id=2"), reproduce="SELECT '<b>'")
ERRORED = replace(PASSED, outcome=Outcome.ERRORED, reason="too slow", sqlstate="57014")
UNMAPPED = replace(
    FAILED,
    name="tenants_have_mapping",
    description="Tenant IDs without organization mapping",
    count=2,
    examples=("ghost", HOSTILE[1]),
    details={"rows": 9, "rows_by_value": {"ghost": 8, HOSTILE[1]: 1}},
)
NULLS = replace(FAILED, name="null_tenant_keys", severity="warning", count=5)
OF_TWO = replace(FAILED, severity="warning", count=3, details={"tenants": {"alpha": 1, HOSTILE[0]: 2}})


class Page(HTMLParser):
    """What a browser would make of a page: its elements and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def report_of(
    *results: CheckResult, tenants: tuple[str, ...] = ("alpha", HOSTILE[0]), **more: Any
) -> dict[str, Any]:
    given = grid(results, tables=[PROFILES, CLAIMS], tenants=tenants, **more)
    return {**build_report(results, results[0].phase), "database": "app", "byTenant": given}


def rows_of(report: dict[str, Any]) -> list[tuple[str, str | None, dict[str, Any]]]:
    return [(row["kind"], row["tenant"], row["cells"]) for row in report["byTenant"]["rows"]]


def test_the_grid_says_of_whom_each_finding_is_worst_first() -> None:
    rows = rows_of(report_of(OF_TWO, NULLS, UNMAPPED, replace(FAILED, table=PROFILES, count=1), ERRORED))
    assert [(kind, tenant) for kind, tenant, _ in rows] == [
        ("whole table", None),
        ("without a tenant", None),
        ("unmapped", HOSTILE[1]),
        ("unmapped", "ghost"),
        ("tenant", HOSTILE[0]),
        ("tenant", "alpha"),
    ]
    cells = {(kind, tenant): found for kind, tenant, found in rows}
    assert cells["whole table", None][PROFILES]["count"] == 1
    assert cells["whole table", None][CLAIMS]["outcome"] == "errored"
    assert cells["without a tenant", None] == {
        CLAIMS: {"outcome": "failed", "severity": "warning", "count": 5, "checks": ["null_tenant_keys"]}
    }
    assert cells["unmapped", "ghost"][CLAIMS]["count"] == 8
    assert cells["tenant", HOSTILE[0]][CLAIMS]["count"] == 2
    assert cells["tenant", "alpha"] == {
        CLAIMS: {"outcome": "failed", "severity": "warning", "count": 1, "checks": ["unique_collisions"]}
    }


def test_unmapped_tenants_beyond_those_that_are_named_are_counted() -> None:
    report = report_of(replace(UNMAPPED, count=50))
    assert "at least 2 tenants without a mapping" in Page(report_as_html(report)).text
    rows = rows_of(report)
    assert rows[0] == (
        "whole table",
        None,
        {
            CLAIMS: {
                "outcome": "failed",
                "severity": "critical",
                "count": 50,
                "checks": ["tenants_have_mapping"],
            }
        },
    )


def test_after_a_migration_the_grid_says_what_is_not_migrated() -> None:
    after = replace(PASSED, phase="post-migration")
    states = {
        (CLAIMS, "alpha"): "completed",
        (PROFILES, "alpha"): "verifying",
        (CLAIMS, HOSTILE[0]): "failed",
    }
    rows = rows_of(report_of(after, states=states))
    assert {tenant: cells for _, tenant, cells in rows} == {
        "alpha": {},
        HOSTILE[0]: {CLAIMS: {"outcome": "failed"}, PROFILES: {"outcome": "pending"}},
    }
    report = report_of(after, states=states)
    assert report["byTenant"]["notMigrated"] == {"failed": 1, "pending": 1}
    assert "Tables of tenants that are not migrated: 1 failed, 1 pending" in Page(report_as_html(report)).text
    many = grid(
        [], tables=[CLAIMS], tenants=[f"t{n}" for n in range(5_000)], states={(CLAIMS, "t1"): "completed"}
    )
    assert many["notMigrated"] == {"pending": 4_999}
    assert len(many["rows"]) == TENANTS_MOST


def test_of_very_many_tenants_those_with_findings_are_listed() -> None:
    tenants = tuple(f"tenant {number:05}" for number in range(5_000))
    last = replace(FAILED, details={"tenants": {tenants[-1]: 2}})
    report = report_of(last, NULLS, tenants=tenants)
    rows = rows_of(report)
    assert (report["byTenant"]["tenants"], report["byTenant"]["listed"]) == (5_000, TENANTS_MOST)
    assert len(rows) == TENANTS_MOST + 1
    assert [tenant for _, tenant, _ in rows[:2]] == [None, tenants[-1]]
    page = Page(report_as_html(report)).text
    assert "4,500 tenants" in page
    all_of_them = replace(FAILED, details={"tenants": dict.fromkeys(tenants, 1)})
    assert "5,000 tenants with findings" in Page(report_as_html(report_of(all_of_them, tenants=tenants))).text
    many_tables = grid([last], tables=[f"t{n}" for n in range(1_000)], tenants=tenants)
    assert many_tables["listed"] == 20


@pytest.mark.parametrize(
    ("tenant", "said"),
    [
        ("local-12", None),
        ("Größe 7", None),
        ("O'Brien", "has a quote"),
        ("a\\b", "has a backslash"),
        (" x", "has a blank at its end"),
        ("a\u200bb", "has an invisible character"),
        ("'\n", "has a quote and a blank at its end and an invisible character"),
        ("", "empty"),
    ],
)
def test_an_unusual_id_is_remarked_upon(tenant: str, said: str | None) -> None:
    assert remark(tenant) == said


def test_the_page_shows_every_hostile_id_as_text_and_has_no_element_of_theirs() -> None:
    harmless = Page(report_as_html(report_of(FAILED, tenants=tuple(f"t{n}" for n in range(len(HOSTILE))))))
    hostile_results = replace(
        FAILED,
        examples=HOSTILE[:10],
        description=HOSTILE[2],
        recommendation=HOSTILE[1],
        column=HOSTILE[1],
        reproduce=HOSTILE[2],
    )
    source = report_as_html(
        {**report_of(hostile_results, tenants=HOSTILE), "auditAnchor": {"head": HOSTILE[1]}}
    )
    page = Page(source)
    assert set(page.tags) <= set(harmless.tags) | {"ul", "li", "em", "bdi"}
    assert not {"script", "img", "link", "iframe", "a", "form"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "href")]
    for tenant in HOSTILE[:6]:
        assert tenant in page.text
    assert "line\\nbreak" in page.text
    assert "no\\xa0break" in page.text
    assert "\\u202egnorw" in page.text
    assert "\u202e" not in source
    assert "(empty)" in page.text
    assert "http" not in re.sub(r"http://evil|Content-Security-Policy|http-equiv", "", source), (
        "self-contained"
    )


def test_the_page_shows_the_verdict_first_then_whom_to_look_at_then_what_is_critical() -> None:
    page = Page(report_as_html(report_of(NULLS, UNMAPPED, OF_TWO, PASSED, ERRORED))).text
    place = 0
    for text in (
        "Validation FAILED - Fix issues before migrating",
        "2critical",
        "2 tenants without a mapping: ",
        "ghost (8 rows in 1 table)",
        "5 rows without a tenant (NULL): public.claims 5",
        "2 tenants with findings: O'Brien Local (2 in 1 table), alpha (1 in 1 table)",
        "1 table with findings of no single tenant: public.claims (unique_collisions)",
        "2 tenants with an unusual id: ",
        "O'Brien Local (has a quote)",
        "What is wrong",
        "Tenant IDs without organization mapping",
        "could not run: too slow (SQLSTATE 57014)",
        "Something is wrong",
        "What to do",
        "Tables and tenants",
        "rows without a tenant (NULL)",
        "no mapping",
        "O'Brien Local",
        "All checks",
    ):
        assert text in page[place:], (text, page[place:])
        place += page[place:].index(text) + len(text)


def test_a_very_long_id_is_shortened_and_says_how_long_it_is() -> None:
    page = Page(report_as_html(report_of(PASSED, tenants=("x" * 5_000,)))).text
    assert f"{'x' * 300}… (5,000 characters)" in page
    assert "x" * 301 not in page


def test_a_tenant_is_not_shown_as_fine_in_a_table_whose_check_could_not_run() -> None:
    page = report_as_html(report_of(ERRORED))
    line = next(line for line in page.splitlines() if "<code>alpha</code>" in line)
    assert line.count('<td class="ok">') == 1  # of the other table
    assert line.count('<td class="unknown">?') == 1


def test_the_table_has_a_line_a_check_and_no_formula() -> None:
    failed = replace(UNMAPPED, examples=HOSTILE[:10], tenant_id=HOSTILE[4])
    report = report_of(failed, ERRORED, PASSED)
    text = report_as_csv(report)
    lines = list(csv.DictReader(io.StringIO(text)))
    assert list(lines[0]) == list(COLUMNS)
    assert [(line["check"], line["outcome"], line["count"]) for line in lines] == [
        ("tenants_have_mapping", "failed", "2"),
        ("unique_collisions", "errored", "0"),
        ("unique_collisions", "passed", "0"),
    ]
    assert lines[0]["tenant"] == f"'{HOSTILE[4]}"
    assert lines[0]["example_keys"] == "; ".join(HOSTILE[:10])
    assert lines[1]["reason"] == "too slow (SQLSTATE 57014)"
    assert not [value for line in lines for value in line.values() if value.startswith(("=", "+", "-", "@"))]


def test_a_report_without_checks_is_a_table_without_lines() -> None:
    report = {**build_report([], "pre-migration")}
    assert report_as_csv(report).splitlines() == [",".join(f'"{name}"' for name in COLUMNS)]
    assert "Nothing was found" in report_as_html(report)


@pytest.mark.parametrize("suffix", FORMS)
def test_each_form_is_written_whole_by_its_suffix(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"report{suffix.upper()}"
    report = report_of(UNMAPPED, NULLS)
    write_report(report, path)
    assert path.read_bytes().decode() == FORMS[suffix](report)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    if suffix == ".json":
        assert json.loads(path.read_text(encoding="utf-8")) == report


@pytest.mark.parametrize("name", ["report", "report.xml", "report.html.bak", ".json"])
def test_another_suffix_is_refused_and_nothing_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has to end in one of \.json, \.html, \.csv"):
        write_report(report_of(FAILED), tmp_path / name)
    assert list(tmp_path.iterdir()) == []
