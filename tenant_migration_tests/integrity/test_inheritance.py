"""A child by inheritance with a key of its own is migrated and checked as the table that it is."""

from __future__ import annotations

import psycopg

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration.integrity.after import run_checks_after
from tenant_migration.planning.storage import load_plan
from tenant_migration_tests.integrity.world import failed, migrate, one


def test_a_child_is_migrated_and_its_parent_untouched(database: str, connection: psycopg.Connection) -> None:
    connection.execute(
        "CREATE TABLE organizations (id uuid PRIMARY KEY, parent_id uuid, slug text, name text); "
        "INSERT INTO organizations VALUES ('00000000-0000-4000-8000-000000000001'); "
        "CREATE TABLE base (id integer); INSERT INTO base VALUES (1); "
        "CREATE TABLE docs (tenant_id text, PRIMARY KEY (id)) INHERITS (base); "
        "INSERT INTO docs SELECT n, 'acme' FROM generate_series(1, 5) AS n"
    )
    with connect(database) as ours:
        install(ours, MigrationConfig())
        connection.execute("INSERT INTO tenant_org_mappings SELECT 'acme', id FROM organizations")
        migrate(database, {})
        results = run_checks_after(ours, load_plan(ours), MigrationConfig())
    assert failed(results) == set()
    assert one(results, "rows_have_organization", "public.docs").rows_checked == 5
    assert connection.execute("SELECT count(*) FROM docs WHERE organization_id IS NULL").fetchone() == (0,)
    assert connection.execute("SELECT count(*) FROM ONLY base").fetchone() == (1,)
