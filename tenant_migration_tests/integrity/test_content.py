"""Contents are compared with what they were before our own write: what a trigger does in it shows."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from tenant_migration.integrity.model import Outcome
from tenant_migration_tests.integrity.world import World, failed, migrate, one

_CHANGES_ITS_ROW = """
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.note := 'stamped'; RETURN NEW; END $$;
CREATE TRIGGER stamped BEFORE UPDATE ON claims FOR EACH ROW WHEN (OLD.id = 101) EXECUTE FUNCTION stamp()
"""
_WRITES_ITS_ROW_AGAIN = """
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN UPDATE claims SET note = 'stamped' WHERE id = NEW.id; RETURN NULL; END $$;
CREATE TRIGGER stamped AFTER UPDATE ON claims FOR EACH ROW
WHEN (OLD.id = 101 AND NEW.note <> 'stamped') EXECUTE FUNCTION stamp()
"""
_INSERTS_ANOTHER_ROW = """
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN
    INSERT INTO claims VALUES (104, NEW.tenant_id, NULL, NULL, 'by a trigger', NEW.organization_id);
    RETURN NULL;
END $$;
CREATE TRIGGER stamped AFTER UPDATE ON claims FOR EACH ROW WHEN (OLD.id = 101) EXECUTE FUNCTION stamp()
"""


def _settings(world: World, **of_claims: Any) -> dict[str, Any]:
    return {**world.settings, "tables": {"public.claims": of_claims}}


@pytest.mark.parametrize(
    ("trigger", "check", "severity", "example"),
    [
        (_CHANGES_ITS_ROW, "content_unchanged", "warning", "101"),
        (_WRITES_ITS_ROW_AGAIN, "content_unchanged", "critical", "101"),
        (_INSERTS_ANOTHER_ROW, "journal_matches_rows", "critical", "104"),
    ],
    ids=["changes its row", "writes its row again", "inserts another row"],
)
def test_what_a_trigger_changes_in_our_own_write_is_found(
    before: World, trigger: str, check: str, severity: str, example: str
) -> None:
    """A trigger of which the plan knows that it changes the row's columns was allowed to: it warns."""
    before.execute(trigger)
    before.settings = _settings(before, on_triggers="fire")
    migrate(before.url, before.settings)
    results = before.check("post-migration")
    assert failed(results) == {check}
    found = one(results, check, "public.claims")
    assert (found.count, found.severity, found.examples) == (1, severity, (example,))
    assert found.details["tenants"] == {"alpha": 1}


def test_what_an_application_writes_meanwhile_is_no_change_of_ours(before: World) -> None:
    """Rows are written before, while and after their batch writes them: none counts as changed by it."""
    before.execute(
        "INSERT INTO claims SELECT 100000 + i, 'beta', NULL, NULL, 'new' FROM generate_series(1, 3000) AS i"
    )
    before.settings = _settings(before, batch_size=100)
    done, written = threading.Event(), []

    def application() -> None:
        with psycopg.connect(before.url, autocommit=True) as connection:
            while not done.is_set():
                claim = 100_001 + len(written) * 37 % 3_000
                connection.execute("UPDATE claims SET note = note || '.' WHERE id = %s", [claim])
                written.append(claim)

    writers = threading.Thread(target=application)
    writers.start()
    try:
        migrate(before.url, before.settings)
    finally:
        done.set()
        writers.join()
    before.execute("UPDATE claims SET note = 'since' WHERE id = 100001")
    assert written
    results = before.check("post-migration")
    assert failed(results) == {"content_changed_since"}
    content = one(results, "content_unchanged", "public.claims")
    assert (content.outcome, content.rows_checked) == (Outcome.PASSED, 3_018)
    assert one(results, "journal_matches_rows", "public.claims").rows_checked == 3_018


def test_without_fingerprints_nothing_is_said_of_contents(before: World) -> None:
    before.settings = {**before.settings, "defaults": {"fingerprints": "off"}}
    migrate(before.url, before.settings)
    results = before.check("post-migration")
    assert failed(results) == set()
    for name in ("content_unchanged", "content_changed_since"):
        result = one(results, name, "public.claims")
        assert result.outcome is Outcome.SKIPPED
        assert "`fingerprints: journal` was not set" in str(result.reason)


def test_tenants_that_came_with_fingerprints_later_are_told_from_those_without(before: World) -> None:
    before.settings = _settings(before, fingerprints="off")
    migrate(before.url, before.settings)
    before.execute(
        "INSERT INTO tenant_org_mappings (tenant_id, organization_id) "
        "SELECT 'late', organization_id FROM tenant_org_mappings WHERE tenant_id = 'beta'; "
        "INSERT INTO claims VALUES (901, 'late', NULL, NULL, 'late')"
    )
    before.settings = _settings(before, fingerprints="journal")
    migrate(before.url, before.settings)
    of_late = one(before.check("post-migration", tenants=["late"]), "content_unchanged", "public.claims")
    assert (of_late.outcome, of_late.rows_checked) == (Outcome.PASSED, 1)
    of_beta = one(before.check("post-migration", tenants=["beta"]), "content_unchanged", "public.claims")
    assert (of_beta.outcome, of_beta.rows_checked) == (Outcome.SKIPPED, 0)
    assert of_beta.reason == "these rows were migrated without fingerprints (`fingerprints: journal`)"
    of_all = one(before.check("post-migration"), "content_unchanged", "public.claims")
    assert (of_all.outcome, of_all.rows_checked, of_all.details["not_fingerprinted"]) == (
        Outcome.PASSED,
        1,
        18,
    )


def test_a_fingerprinted_column_that_is_gone_leaves_nothing_to_compare(after: World) -> None:
    plan = after.plan
    after.execute("ALTER TABLE claims DROP COLUMN note")
    result = one(after.check("post-migration", plan=plan), "content_unchanged", "public.claims")
    assert result.outcome is Outcome.SKIPPED
    assert "are not there any more" in str(result.reason)


@pytest.mark.parametrize("settings", ["SET TimeZone = 'Asia/Kolkata'", "SET extra_float_digits = -5"])
def test_settings_of_the_session_change_no_hash(before: World, settings: str) -> None:
    before.execute(
        "ALTER TABLE claims ADD COLUMN at timestamptz DEFAULT '2025-01-02 03:04:05.678+00',"
        " ADD COLUMN share float8 DEFAULT 0.1::float8 + 0.2, ADD COLUMN spans tstzrange DEFAULT"
        " '[2025-01-01 00:00+00,)', ADD COLUMN days date[] DEFAULT '{2025-01-02}', ADD COLUMN raw bytea"
        " DEFAULT '\\x00ff', ADD COLUMN lasts interval DEFAULT '1 month 2 days'"
    )
    migrate(before.url, before.settings)
    before.connection.execute(
        settings + "; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = iso_8601; SET bytea_output = escape"
    )
    result = one(before.check("post-migration"), "content_unchanged", "public.claims")
    assert (result.outcome, result.rows_checked) == (Outcome.PASSED, 18)
