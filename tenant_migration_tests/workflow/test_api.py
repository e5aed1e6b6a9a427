"""The Python API keeps the names and the meaning that users of the original know."""

from __future__ import annotations

from uuid import UUID

import psycopg
import pytest

import tenant_migration
from tenant_migration.errors import (
    NoPlan,
    Refused,
    UnknownOrganization,
    UnknownTable,
    UnknownTenant,
    UsageError,
)
from tenant_migration_tests.workflow.conftest import ORGANIZATION, TENANTS


def test_every_exported_name_is_there():
    for name in tenant_migration.__all__:
        assert callable(getattr(tenant_migration, name))


def test_migration_with_a_progress_callback_and_reports(application):
    assert tenant_migration.run_pre_migration_validation(connection=application)["status"] in {
        "pass",
        "warning",
    }
    seen: dict[str, float] = {}
    outcomes = tenant_migration.migrate_all_tables(False, seen.__setitem__, connection=application)
    assert {outcome.state for outcome in outcomes} == {"completed"}
    assert set(seen.values()) == {100.0}
    report = tenant_migration.run_post_migration_validation(connection=application)
    assert report["status"] == "pass"
    progress = tenant_migration.get_migration_progress(connection=application)
    assert {(table.table_name, table.total_rows, table.migrated_rows) for table in progress} == {
        ("members", 300, 300),
        ("claims", 300, 300),
        ("notes", 30, 30),
    }


def test_a_dry_run_changes_nothing_and_counts_by_tenant(application):
    def fingerprint() -> object:
        return application.execute(
            "SELECT (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_attribute),"
            " (SELECT sum(xmin::text::bigint) FROM public.members),"
            " (SELECT count(*) FROM tenant_migration.plans), (SELECT count(*) FROM tenant_migration.runs)"
        ).fetchone()

    before = fingerprint()
    tables = {
        table.table: table
        for table in tenant_migration.migrate_all_tables(dry_run=True, connection=application)
    }
    assert fingerprint() == before
    assert tables["public.members"].rows_to_migrate == 300
    assert tables["public.notes"].rows_by_tenant == dict.fromkeys(TENANTS, 10)
    assert all(table.refusals == () for table in tables.values())


def test_lookups_both_ways(application):
    organization = UUID(ORGANIZATION.format(2))
    assert (
        tenant_migration.get_organization_id_from_tenant("O'Brien Local", connection=application)
        == organization
    )
    assert (
        tenant_migration.get_tenant_id_from_organization(organization, connection=application)
        == "O'Brien Local"
    )
    assert tenant_migration.batch_get_organization_ids(["acme", "nobody"], connection=application) == {
        "acme": UUID(ORGANIZATION.format(1))
    }
    with pytest.raises(UnknownTenant):
        tenant_migration.get_organization_id_from_tenant("nobody", connection=application)
    with pytest.raises(UnknownOrganization):
        tenant_migration.get_tenant_id_from_organization(UUID(int=5), connection=application)


def test_without_a_database_it_says_what_to_set(monkeypatch):
    monkeypatch.delenv("TENANT_MIGRATION_DATABASE_URL", raising=False)
    with pytest.raises(UsageError, match="TENANT_MIGRATION_DATABASE_URL"):
        tenant_migration.migrate_all_tables()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda connection: tenant_migration.migrate_tenant("nobody", connection=connection), UnknownTenant),
        (lambda connection: tenant_migration.migrate_table("clams", connection=connection), UnknownTable),
    ],
    ids=["tenant", "table"],
)
def test_an_unknown_name_changes_nothing(application, call, error):
    def written() -> object:
        return application.execute(
            "SELECT (SELECT count(*) FROM tenant_migration.plans),"
            " (SELECT count(*) FROM tenant_migration.runs),"
            " (SELECT count(*) FROM tenant_migration.managed_tables)"
        ).fetchone()

    with pytest.raises(error):
        call(application)
    assert written() == (0, 0, 0)


def with_organization(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "SELECT (SELECT count(organization_id) FROM public.members)"
        " + (SELECT count(organization_id) FROM public.claims)"
        " + (SELECT count(organization_id) FROM public.notes)"
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_backup_migrate_and_take_back_again(application):
    backup = tenant_migration.create_all_backups(connection=application)
    assert backup.verified
    assert [found.backup_id for found in tenant_migration.list_backups(connection=application)] == [
        backup.backup_id
    ]
    tenant_migration.migrate_all_tables(connection=application)
    seen: dict[str, float] = {}
    outcomes = tenant_migration.rollback_tenant("O'Brien Local", seen.__setitem__, connection=application)
    assert {outcome.state for outcome in outcomes} == {"rolled_back"}
    assert set(seen.values()) == {100.0}
    assert with_organization(application) == 420
    [outcome] = tenant_migration.rollback_table("notes", connection=application)
    assert outcome.rows_restored == 20
    outcomes = tenant_migration.rollback_all_tables(drop_created=True, connection=application)
    assert {outcome.state for outcome in outcomes} == {"rolled_back"}
    assert sum(outcome.rows_restored for outcome in outcomes) == 400
    assert tenant_migration.rollback_all_tables(connection=application) == []
    kept = tenant_migration.cleanup_backups(0, dry_run=True, connection=application)
    assert kept.dry_run


def test_the_emergency_stop_takes_everything_back_and_lets_nothing_start(application):
    tenant_migration.migrate_all_tables(connection=application)
    outcome = tenant_migration.emergency_rollback("test", connection=application)
    assert outcome.left == []
    assert outcome.rows_restored == 630
    assert with_organization(application) == 0
    with pytest.raises(Refused, match="resume"):
        tenant_migration.migrate_all_tables(connection=application)


def test_taking_back_where_nothing_was_ever_planned_says_so(application):
    with pytest.raises(NoPlan):
        tenant_migration.rollback_all_tables(connection=application)
