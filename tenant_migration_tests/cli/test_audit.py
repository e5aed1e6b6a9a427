"""`audit`: who did what, and whether somebody changed the record of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tenant_migration.resources import resource_path
from tenant_migration_tests.cli.runner import CommandLine
from tenant_migration_tests.servers import Server
from tenant_migration_tests.versions import newest_server_only

pytestmark = newest_server_only

_ENTRIES = (
    ("migrate", "completed", None, None, {"tables": ["public.claims"], "tenants": ["acme", "o'brien"]}),
    ("migrate table", "failed", "public.claims", None, {"reason": "1 row in quarantine"}),
    ("backup", "succeeded", None, "o'brien", {"tables": ["public.claims", "app.notes"]}),
    ("rollback", "refused", None, None, {"error": "\x1b[2Jnothing", "tenants": None}),
)


@pytest.fixture
def told(installed: CommandLine, connection: psycopg.Connection) -> CommandLine:
    """The command line on a database whose log has four entries of an hour ago and an anchor of them."""
    for operation, outcome, table, tenant, detail in _ENTRIES:
        connection.execute(
            "SELECT tenant_migration.append_audit(operation => %s, actor => 'anna', outcome => %s,"
            " table_name => %s, tenant_id => %s, detail => %s, counts => '{\"rows\": 1200}',"
            " duration_ms => 61000)",
            [operation, outcome, table, tenant, json.dumps(detail)],
        )
    assert installed("cache", "--clear").exit_code == 0
    return installed


@pytest.fixture
def anchors(told: CommandLine) -> Path:
    return Path(told.environment["DAGSTER_HOME"]) / "audit_anchors.jsonl"


@pytest.fixture
def behind_the_triggers(told: CommandLine, connection: psycopg.Connection) -> psycopg.Connection:
    """The owner, who switched off what keeps the log as it is."""
    connection.execute("ALTER TABLE migration_audit_log DISABLE TRIGGER append_only")
    return connection


def operations(run: CommandLine, *filters: str) -> list[str]:
    result = run("audit", "--json", *filters)
    assert result.exit_code == 0
    return [entry["operation"] for entry in json.loads(result.stdout)]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ((), ["install", "migrate", "migrate table", "backup", "rollback", "cache"]),
        (("--operation", "migrate"), ["migrate", "migrate table"]),
        (("--operation", "migrate table"), ["migrate table"]),
        (("--operation", "mig"), []),
        (("--operation", "cache", "--operation", "rollback"), ["rollback", "cache"]),
        (("--tenant", "o'brien"), ["migrate", "backup"]),
        (("--tenant", "acme"), ["migrate"]),
        (("--tenant", "%"), []),
        (("--table", "claims"), ["migrate", "migrate table", "backup"]),
        (("--table", "public.claims", "--tenant", "o'brien"), ["migrate", "backup"]),
        (("--table", "notes"), ["backup"]),
        (("--table", "public.notes"), []),
        (("--table", "c_aims"), []),
        (("--since", "1h", "--limit", "2"), ["rollback", "cache"]),
        (("--since", "2001-01-01", "--until", "2001-01-02T12:30"), []),
        (("--until", "1m"), []),
    ],
)
def test_filters(told: CommandLine, filters: tuple[str, ...], found: list[str]) -> None:
    assert operations(told, *filters) == found


def test_a_person_reads_who_what_and_why(told: CommandLine) -> None:
    result = told("audit", "--limit", "5")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["#", "When", "Who", "Operation", "Outcome", "What", "Counts", "Why", "Took"]
    [failed] = [line for line in lines if "migrate table" in line]
    for part in (
        "anna as app_owner",
        "failed",
        "table public.claims",
        "rows 1,200",
        "1 row in quarantine",
        "1 min 1 s",
    ):
        assert part in " ".join(result.stdout.split()) or part in failed
    assert "\x1b" not in result.stdout, "what an entry holds is not obeyed by a terminal"
    assert lines[-1] == "The newest 5 of 6 entries; --limit 0 shows all."


@pytest.mark.parametrize(
    "arguments",
    [
        ("--since", "yesterday"),
        ("--limit", "-1"),
        ("--verify", "--tenant", "acme"),
        ("--verify", "--limit", "3"),
        ("--report", "migration.yaml"),
        ("--verify", "--report", "no_such_file.json"),
    ],
)
def test_usage_errors(told: CommandLine, arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "migration.yaml").write_text("{}")
    assert told("audit", *arguments).exit_code == 2


def test_without_the_tool(run: CommandLine) -> None:
    for arguments in (("audit",), ("audit", "--verify")):
        result = run(*arguments)
        assert result.exit_code == 1
        assert "run `tenant-migration install`" in result.error


def test_a_whole_log(told: CommandLine, anchors: Path) -> None:
    result = told("audit", "--verify")
    assert result.exit_code == 0
    assert "The audit log is whole: 6 entries, every seal holds" in result.stdout
    verdict = json.loads(told("audit", "--verify", "--json").stdout)
    assert (verdict["sound"], verdict["entries"], verdict["problems"]) == (True, 6, [])
    last = json.loads(anchors.read_text().splitlines()[-1])
    assert (last["entries"], last["head"]) == (6, verdict["head"])
    assert anchors.stat().st_mode & 0o077 == 0, "nobody else reads or writes the anchors"


_CHANGES = {
    "an_edit": ("UPDATE migration_audit_log SET outcome = 'succeeded' WHERE seq = 3", "entry 3 is the first"),
    "a_gap": ("DELETE FROM migration_audit_log WHERE seq = 2", "entry 3 is the first"),
    "a_cut_tail": ("DELETE FROM migration_audit_log WHERE seq > 4", "ends at entry 4"),
    "all_gone": ("DELETE FROM migration_audit_log", "ends at entry 0"),
    "written_anew": (
        "DO $$ DECLARE e record; BEGIN CREATE TEMP TABLE past AS SELECT * FROM migration_audit_log;"
        " DELETE FROM migration_audit_log;"
        " FOR e IN SELECT * FROM past ORDER BY seq LOOP"
        "  PERFORM tenant_migration.append_audit(e.operation, 'somebody else', e.outcome);"
        " END LOOP; END $$",
        "another entry",
    ),
    "cut_and_grown_again": (
        "DO $$ BEGIN DELETE FROM migration_audit_log WHERE seq > 3;"
        " FOR i IN 1..5 LOOP PERFORM tenant_migration.append_audit('verify', 'anna', 'pass'); END LOOP;"
        " END $$",
        "another entry 6",
    ),
}


@pytest.mark.parametrize("name", _CHANGES)
def test_a_changed_log(
    name: str, told: CommandLine, anchors: Path, behind_the_triggers: psycopg.Connection
) -> None:
    assert told("audit", "--verify").exit_code == 0
    change, says = _CHANGES[name]
    behind_the_triggers.execute(change)
    result = told("audit", "--verify")
    assert result.exit_code == 1
    assert says in result.error
    assert "is whole" not in result.stdout


def test_a_cut_log_is_told_of_by_the_next_operation_and_stays_found(
    told: CommandLine, behind_the_triggers: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    behind_the_triggers.execute("DELETE FROM migration_audit_log WHERE seq > 4")
    assert told("cache", "--clear").exit_code == 0
    assert "does not hold entry 6 any more" in caplog.text
    assert told("cache", "--clear").exit_code == 0
    assert told("cache", "--clear").exit_code == 0, "longer than it was"
    result = told("audit", "--verify")
    assert result.exit_code == 1
    assert "another entry 6" in result.error


def test_a_report_is_an_anchor_too(
    told: CommandLine, anchors: Path, behind_the_triggers: psycopg.Connection, tmp_path: Path
) -> None:
    verdict = json.loads(told("audit", "--verify", "--json").stdout)
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"auditAnchor": {"entries": verdict["entries"], "head": verdict["head"]}}))
    assert told("audit", "--verify", "--report", str(report)).exit_code == 0
    behind_the_triggers.execute("DELETE FROM migration_audit_log WHERE seq > 4")
    anchors.unlink()
    without = told("audit", "--verify")
    assert without.exit_code == 0
    assert "No anchor of this database is kept" in without.stdout
    result = told("audit", "--verify", "--report", str(report))
    assert result.exit_code == 1
    assert f"as it was known at report {report}" in result.error
    report.write_text("{}")
    assert told("audit", "--verify", "--report", str(report)).exit_code == 2


def test_a_lost_anchor_is_no_pass(told: CommandLine, anchors: Path) -> None:
    whole = anchors.read_text()
    anchors.write_text(whole + whole[:40])  # the disk was full
    result = told("audit", "--verify")
    assert result.exit_code == 1
    assert f"line {len(whole.splitlines()) + 1} of {anchors} cannot be read" in result.error
    assert told("cache", "--clear").exit_code == 0
    assert len(anchors.read_text().splitlines()) == len(whole.splitlines()) + 2, "on a line of its own"


def test_a_log_that_was_uninstalled_begins_a_new_chapter(
    told: CommandLine, server: Server, sample: str
) -> None:
    uninstall = resource_path("sql") / "uninstall.sql"
    psql = server.embedded.programs / "psql"
    subprocess.run([psql, "-X", "-q", "-d", sample, "-f", uninstall], check=True, capture_output=True)
    assert told("install").exit_code == 0
    result = told("audit", "--verify")
    assert result.exit_code == 0
    assert "An earlier log of this database had 6 entries" in result.stdout


def test_anchors_of_other_databases_do_not_count(
    told: CommandLine, anchors: Path, behind_the_triggers: psycopg.Connection
) -> None:
    def change(key: str, value: object) -> Callable[[str], str]:
        return lambda line: json.dumps({**json.loads(line), key: value, "head": "f" * 64})

    lines = anchors.read_text().splitlines()
    others = [
        change(key, value)(line)
        for line in lines
        for key, value in (("system", "1"), ("oid", 1), ("database", "another"))
    ]
    anchors.write_text("\n".join([*lines, *others, ""]))
    assert told("audit", "--verify").exit_code == 0


def test_a_reader_may_look_and_check(told: CommandLine, reader: str) -> None:
    for arguments in (("audit",), ("audit", "--verify")):
        result = told(*arguments, TENANT_MIGRATION_DATABASE_URL=reader)
        assert result.exit_code == 0, result.stderr
    assert "cache" in told("audit", TENANT_MIGRATION_DATABASE_URL=reader).stdout
