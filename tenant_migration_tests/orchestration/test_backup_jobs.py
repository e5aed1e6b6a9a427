"""The jobs `backup`, `backup_all`, `backup_cleanup`, and the backup that a migration takes first."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from tenant_migration_tests.orchestration.conftest import App, Dagster, failure_messages
from tenant_migration_tests.orchestration.versions import newest_server_only

pytestmark = newest_server_only


def metadata_of(result: dg.ExecuteInProcessResult, op: str) -> dict[str, object]:
    """What the step's page shows."""
    [output] = [
        event.step_output_data
        for event in result.all_events
        if event.is_successful_output and event.node_name == op
    ]
    return {name: value.value for name, value in output.metadata.items()}


def backups(app: App) -> list[tuple[object, ...]]:
    return app.query("SELECT backup_id, state FROM tenant_migration.backups ORDER BY 1")


def backup_relations(app: App) -> int:
    [(count,)] = app.query(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'tenant_migration'::regnamespace"
        " AND relkind = 'r' AND relname IN (SELECT relation FROM tenant_migration.backed_up_tables)"
    )
    return int(str(count))


def test_a_backup_of_one_tenant_shows_every_table_s_counts(app: App, dagster: Dagster) -> None:
    tenant = app.tenants[-1]
    result = dagster.run("backup", tenant=tenant)

    assert result.success, failure_messages(result)
    shown = metadata_of(result, "back_up_tenant")
    total = 0
    for table in app.plan.tables:
        [(rows,)] = app.query(f"SELECT count(*) FROM {table.table_name} WHERE tenant_id = %s", tenant)
        assert f"| {table.qualified_name} | {int(str(rows)):,} | " in str(shown["tables"])
        total += int(str(rows))
    assert shown["rows"] == total > 0
    assert shown["verified"] is True
    assert shown["space"]
    assert shown["backup"] == 1


def test_backups_of_many_tenants_make_as_many_relations_as_there_are_tables(
    app: App, dagster: Dagster
) -> None:
    for tenant in app.tenants[:3]:
        assert dagster.run("backup", tenant=tenant).success
    assert backups(app) == [(1, "complete"), (2, "complete"), (3, "complete")]
    assert backup_relations(app) == len(app.plan.tables)


def test_a_backup_of_everything_or_of_some(app: App, dagster: Dagster, tmp_path: Path) -> None:
    everything = dagster.run("backup_all")
    assert everything.success, failure_messages(everything)
    [(rows,)] = app.query(
        "SELECT " + " + ".join(f"(SELECT count(*) FROM {t.table_name})" for t in app.plan.tables)
    )
    assert metadata_of(everything, "back_up")["rows"] == rows

    chosen = list(app.tenants[:2])
    some = dagster.run(
        "backup_all",
        ops={"back_up": {"tables": ["claims"], "tenants": chosen, "directory": str(tmp_path / "files")}},
    )
    assert some.success, failure_messages(some)
    shown = metadata_of(some, "back_up")
    [(rows,)] = app.query("SELECT count(*) FROM claims WHERE tenant_id = ANY (%s)", chosen)
    assert shown["rows"] == rows
    assert Path(str(shown["directory"])).parent == tmp_path / "files"


def test_what_cannot_be_backed_up_fails_with_its_reason(app: App, dagster: Dagster) -> None:
    result = dagster.run("backup_all", ops={"back_up": {"tables": ["claimz"]}})
    assert not result.success
    assert "did you mean 'claims'?" in failure_messages(result)[0]
    assert backups(app) == []


def test_a_cleanup_says_what_goes_and_what_stays(app: App, dagster: Dagster) -> None:
    for _ in range(2):
        assert dagster.run("backup_all", ops={"back_up": {"tables": ["strike_votes"]}}).success
    app.execute("UPDATE tenant_migration.backups SET held_by = 'anna', held_at = now() WHERE backup_id = 2")

    would = metadata_of(
        dagster.run("backup_cleanup", ops={"drop_old_backups": {"days": 0, "dry_run": True}}),
        "drop_old_backups",
    )
    assert (would["dropped"], would["kept"], would["dry_run"]) == (1, 1, True)
    assert backups(app) == [(1, "complete"), (2, "complete")]

    young = metadata_of(dagster.run("backup_cleanup"), "drop_old_backups")  # the configuration's seven days
    assert (young["dropped"], young["kept"]) == (0, 2)

    done = metadata_of(
        dagster.run("backup_cleanup", ops={"drop_old_backups": {"days": 0}}), "drop_old_backups"
    )
    assert (done["dropped"], done["kept"]) == (1, 1)
    assert "kept: held by anna" in str(done["backups"])
    assert backups(app)[1] == (2, "complete")
    assert backup_relations(app) == 1


def test_migrate_all_backs_up_first_and_only_what_is_left_to_migrate(app: App, dagster: Dagster) -> None:
    assert dagster.run("migrate_all", ops={"start": {"tables": ["profiles"]}}).success
    assert backed_up_tables(app, 1) == {"public.profiles"}
    assert dagster.run("migrate_all").success
    assert backed_up_tables(app, 2) == {t.qualified_name for t in app.plan.tables} - {"public.profiles"}
    assert dagster.run("migrate_all").success  # everything is migrated: nothing is worth a copy
    assert backups(app) == [(1, "complete"), (2, "complete")]


def backed_up_tables(app: App, number: int) -> set[object]:
    rows = app.query(
        "SELECT t.table_schema || '.' || t.table_name FROM tenant_migration.backed_up_tables b"
        " JOIN tenant_migration.managed_tables t USING (table_id) WHERE b.backup_id = %s",
        number,
    )
    return {table for (table,) in rows}


def test_the_backup_holds_what_was_there_before(app: App, dagster: Dagster) -> None:
    [(before,)] = app.query("SELECT sum(hashtextextended(t::text, 0)) FROM precedents t")
    assert dagster.run("migrate_all", ops={"start": {"tables": ["precedents"]}}).success
    [(relation,)] = app.query("SELECT relation FROM tenant_migration.backed_up_tables")
    [(copied,)] = app.query(f"SELECT sum(hashtextextended(t::text, 0)) FROM tenant_migration.{relation} t")
    assert copied == before


def test_a_run_for_one_tenant_takes_one_backup_of_its_tables(app: App, dagster: Dagster) -> None:
    one, other = app.tenants[:2]
    assert dagster.run("migrate", tenant=one).success
    assert backups(app) == [(1, "complete")]
    assert backed_up_tables(app, 1) == {table.qualified_name for table in app.plan.tables}

    lone = dagster.run("migrate", tenant=other, tables=["profiles"])
    assert lone.success, failure_messages(lone)
    assert backed_up_tables(app, 2) == {"public.profiles"}


def test_a_lone_table_says_which_backup_covers_it(app: App, dagster: Dagster) -> None:
    tenant = app.tenants[0]
    assert dagster.run("backup", tenant=tenant).success
    result = dagster.run("migrate", tenant=tenant, tables=["profiles"])
    assert result.success, failure_messages(result)
    assert backups(app) == [(1, "complete")]
    logs = dagster.instance.all_logs(result.run_id)
    assert any("backup 1 covers this: " in entry.user_message for entry in logs)


@pytest.mark.parametrize("job", ["migrate", "migrate_all"])
def test_skip_backup_takes_none(app: App, dagster: Dagster, job: str) -> None:
    op = "start" if job == "migrate_all" else "public__profiles"
    tenant = None if job == "migrate_all" else app.tenants[0]
    result = dagster.run(
        job,
        tenant=tenant,
        tables=["profiles"] if tenant else None,
        ops={op: {"skip_backup": True}},
    )
    assert result.success, failure_messages(result)
    assert backups(app) == []


def test_without_room_nothing_is_migrated(app: App, dagster: Dagster, tmp_path: Path) -> None:
    before = app.fingerprint()
    file = tmp_path / "migration.yaml"
    file.write_text(file.read_text() + "backups: {max_bytes: 1000}\n")
    for result in (
        dagster.run("migrate_all"),
        dagster.run("migrate", tenant=app.tenants[0], tables=["profiles"]),
        dagster.run("backup_all"),
    ):
        assert not result.success
        assert "backups.max_bytes is 1,000" in failure_messages(result)[0]
    assert app.fingerprint() == before
    assert app.states() == {}
