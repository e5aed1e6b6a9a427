"""A check that could not run is errored, stands against the migration, and takes no other check with it."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tenant_migration.database.connection import connect
from tenant_migration.errors import DatabaseUnavailable
from tenant_migration.integrity import runner
from tenant_migration.integrity.model import CheckResult, Outcome
from tenant_migration.integrity.report import build_report
from tenant_migration_tests.integrity.world import World, one

_ROW_CHECKS_AFTER = (
    "rows_have_organization",
    "organization_matches_mapping",
    "nothing_lost",
    "journal_matches_rows",
    "tenants_have_mapping",
)


def _errored(results: list[CheckResult]) -> dict[tuple[str, str | None], str | None]:
    return {(r.name, r.table): r.sqlstate for r in results if r.outcome is Outcome.ERRORED}


def test_a_table_that_may_not_be_read_is_errored_and_the_others_are_checked(before: World) -> None:
    before.execute("REVOKE SELECT ON claims FROM app_owner")
    results = before.check("pre-migration")
    errored = _errored(results)
    assert set(errored.values()) == {"42501"}
    assert {table for _, table in errored} == {"public.claims"}
    claims = one(results, "tenants_have_mapping", "public.claims")
    assert claims.outcome is Outcome.ERRORED
    assert claims.blocks
    assert "permission denied for table claims" in (claims.reason or "")
    assert one(results, "tenants_have_mapping", "public.profiles").outcome is Outcome.PASSED
    report = build_report(results, "pre-migration")
    assert report["status"] == "fail"
    assert (
        report["criticalIssues"]
        == sum(r.outcome is Outcome.ERRORED for r in results)
        == len(report["issues"])
    )
    assert (
        "could not run: permission denied for table claims (SQLSTATE 42501)"
        in report["issues"][0]["description"]
    )


def test_a_check_that_needs_more_does_not_take_those_of_the_same_scan_with_it(after: World) -> None:
    after.execute("REVOKE SELECT ON organizations FROM app_owner")
    results = after.check("post-migration", tables=["public.claims"])
    assert _errored(results) == {("organizations_exist", "public.claims"): "42501"}
    for name in _ROW_CHECKS_AFTER:
        assert one(results, name, "public.claims").outcome is Outcome.PASSED


def test_a_policy_that_would_hide_rows_is_an_error_and_no_silent_zero(before: World) -> None:
    before.execute(
        "ALTER TABLE claims ENABLE ROW LEVEL SECURITY; ALTER TABLE claims FORCE ROW LEVEL SECURITY; "
        "CREATE POLICY own ON claims USING (false)"
    )
    assert before.execute("SELECT count(*) FROM claims") == [(0,)]
    result = one(before.check("pre-migration"), "tenants_have_mapping", "public.claims")
    assert (result.outcome, result.sqlstate) == (Outcome.ERRORED, "42501")


def test_a_table_that_is_gone_is_errored(before: World) -> None:
    plan = before.plan
    before.execute("DROP TABLE archive")
    errored = _errored(before.check("pre-migration", plan=plan))
    assert {table for _, table in errored} == {"public.archive"}
    assert errored["tenants_have_mapping", "public.archive"] == "42P01"
    assert errored["foreign_keys_valid", "public.archive"] == "42P01"


def test_a_table_that_was_partitioned_after_the_plan_is_read_with_its_partitions(before: World) -> None:
    plan = before.plan
    before.execute(
        "DROP TABLE archive; "
        "CREATE TABLE archive (id integer, tenant_id text) PARTITION BY LIST (tenant_id); "
        "CREATE TABLE archive_rest PARTITION OF archive DEFAULT; INSERT INTO archive VALUES (1, 'ghost')"
    )
    result = one(before.check("pre-migration", plan=plan), "tenants_have_mapping", "public.archive")
    assert (result.outcome, result.rows_checked, result.examples) == (Outcome.FAILED, 1, ("ghost",))


def test_foreign_keys_are_counted_as_they_were_declared(before: World) -> None:
    """PostgreSQL keeps a copy for each partition that is referred to; a partition may have its own."""
    before.execute(
        "ALTER TABLE claims ADD COLUMN on_day date; ALTER TABLE claims ADD CONSTRAINT read "
        "FOREIGN KEY (id, on_day) REFERENCES readings NOT VALID; "
        "ALTER TABLE readings_2025 ADD CONSTRAINT own FOREIGN KEY (id) REFERENCES archive NOT VALID"
    )
    results = before.check("pre-migration", only=["foreign_keys_valid"])
    claims = one(results, "foreign_keys_valid", "public.claims")
    assert (claims.rows_checked, claims.count, claims.examples) == (2, 1, ("read",))
    readings = one(results, "foreign_keys_valid", "public.readings")
    assert (readings.rows_checked, readings.count, readings.examples) == (2, 1, ("own",))


def test_a_relation_whose_column_is_gone_is_errored_alone(before: World) -> None:
    plan = before.plan
    before.execute("ALTER TABLE claims DROP COLUMN reviewer_id")
    results = before.check("pre-migration", plan=plan)
    assert one(results, "orphans", "public.claims", "reviewer_id").sqlstate == "42703"
    assert one(results, "orphans", "public.claims", "user_id").outcome is Outcome.PASSED


def test_a_check_that_takes_too_long_is_errored(before: World) -> None:
    """Only integers are slow here, so that only the table keyed by them runs out of time."""
    before.execute(
        "CREATE OR REPLACE FUNCTION tenant_migration.canonical_key(value text, key_type text) RETURNS text "
        "LANGUAGE plpgsql AS "
        "$$ BEGIN IF key_type LIKE '%int4%' THEN PERFORM pg_sleep(60); END IF; RETURN value; "
        "EXCEPTION WHEN data_exception THEN RETURN NULL; END $$"
    )
    config = before.with_validation(statement_timeout_ms=2_000)
    results = before.check("pre-migration", config=config, tables=["public.ledger", "public.archive"])
    ledger = one(results, "tenants_have_mapping", "public.ledger")
    assert (ledger.outcome, ledger.sqlstate) == (Outcome.ERRORED, "57014")
    assert "statement timeout" in (ledger.reason or "")
    assert one(results, "identical_rows", "public.ledger").outcome is Outcome.PASSED
    assert one(results, "tenants_have_mapping", "public.archive").outcome is Outcome.PASSED
    # The three checks of one scan ran out of time once, not once each.
    assert sum(r.sqlstate == "57014" for r in results) == 3
    assert ledger.duration_ms < 2 * 2_000


def test_nothing_is_checked_without_the_private_schema(before: World) -> None:
    plan = before.plan
    before.execute("DROP SCHEMA tenant_migration CASCADE")
    results = before.check("pre-migration", plan=plan)
    assert {result.outcome for result in results} == {Outcome.ERRORED}
    assert build_report(results, "pre-migration")["status"] == "fail"


def test_nothing_to_look_at_while_something_was_expected_is_no_pass(after: World) -> None:
    after.execute("DELETE FROM claims WHERE tenant_id = 'beta'")
    results = after.check("post-migration", tables=["public.claims"], tenants=["beta"])
    result = one(results, "rows_have_organization", "public.claims")
    assert (result.outcome, result.rows_checked, result.expected) == (Outcome.ERRORED, 0, 3)
    assert result.reason == "there was nothing to look at, while 3 were expected"
    assert one(results, "nothing_lost", "public.claims").count == 3


@pytest.mark.newest_server_by_default
def test_a_relation_says_how_many_rows_it_had_to_look_at(before: World, after: World) -> None:
    for name in ("orphans", "references_stay_in_tenant", "references_stay_in_organization"):
        found = one(before.check("pre-migration"), name, "public.claims", "user_id")
        assert (found.outcome, found.rows_checked, found.expected) == (Outcome.PASSED, 18, 18)
    for name in ("child_matches_parent", "references_stay_in_organization"):
        found = one(after.check("post-migration"), name, "public.claims", "user_id")
        assert (found.outcome, found.rows_checked, found.expected) == (Outcome.PASSED, 18, 18)


@pytest.mark.newest_server_by_default
def test_a_relation_without_a_row_to_compare_with_is_no_pass(before: World, after: World) -> None:
    """Orphans are counted before; after, that nothing could be compared is said."""
    for world in (before, after):
        world.execute_unguarded("UPDATE claims SET user_id = user_id + 100000")
    orphans = one(before.check("pre-migration"), "orphans", "public.claims", "user_id")
    assert (orphans.outcome, orphans.count, orphans.expected) == (Outcome.FAILED, 18, 18)
    same_tenants = one(
        before.check("pre-migration"), "references_stay_in_organization", "public.claims", "user_id"
    )
    assert same_tenants.outcome is Outcome.SKIPPED
    for name in ("child_matches_parent", "references_stay_in_organization"):
        found = one(after.check("post-migration"), name, "public.claims", "user_id")
        assert found.outcome is Outcome.SKIPPED
        assert found.reason == (
            "18 rows of migrated tenants refer to rows that are not there, or not recorded as migrated"
        )


def test_all_checks_see_one_moment(before: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant that is born between two checks is in none of them."""
    ask, asked = runner._ask, []

    def and_meanwhile(connection: Any, questions: Any) -> list[CheckResult]:
        if not asked:
            before.execute("INSERT INTO claims VALUES (1, 'ghost', NULL, NULL, '')")
        asked.append(len(questions))
        return ask(connection, questions)

    monkeypatch.setattr(runner, "_ask", and_meanwhile)
    assert (
        one(before.check("pre-migration"), "tenants_have_mapping", "public.claims").outcome is Outcome.PASSED
    )
    assert len(asked) > 1
    assert (
        one(before.check("pre-migration"), "tenants_have_mapping", "public.claims").outcome is Outcome.FAILED
    )


def test_a_lost_connection_is_said_and_not_judged(before: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, plan = runner._ask, before.plan

    def after_the_server_hung_up(connection: psycopg.Connection, questions: Any) -> list[CheckResult]:
        with psycopg.connect(before.superuser_url, autocommit=True) as superuser:
            superuser.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
        return ask(connection, questions)

    monkeypatch.setattr(runner, "_ask", after_the_server_hung_up)
    with pytest.raises(DatabaseUnavailable, match="connection was lost"):
        before.check("pre-migration", plan=plan)


def test_checks_write_nothing(before: World, after: World) -> None:
    for world, phase in ((before, "pre-migration"), (after, "post-migration")):
        with connect(world.url, read_only=True) as connection:
            results = World(world.url, "", connection).check(phase)  # type: ignore[arg-type]
        assert results
        assert not _errored(results)


def test_a_row_deleted_while_a_run_verifies_warns_and_afterwards_is_critical(after: World) -> None:
    after.execute("DELETE FROM claims WHERE id = 101")
    after.execute("UPDATE tenant_migration.table_states SET state = 'verifying'")
    during = one(after.check("post-migration"), "nothing_lost", "public.claims")
    assert (during.outcome, during.count, during.severity, during.blocks) == (
        Outcome.FAILED,
        1,
        "warning",
        False,
    )
    after.execute("UPDATE tenant_migration.table_states SET state = 'completed'")
    afterwards = one(after.check("post-migration"), "nothing_lost", "public.claims")
    assert (afterwards.count, afterwards.severity, afterwards.blocks) == (1, "critical", True)
