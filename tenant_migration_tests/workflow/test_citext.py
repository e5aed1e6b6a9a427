"""Keys without case: the type's own equality decides, in plan, engine and checks.

The embedded servers carry no contrib extensions: this runs on the machine's own PostgreSQL, if it has one.
"""

from __future__ import annotations

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration.workflow.migrate import migrate
from tenant_migration.workflow.prepare import stored_or_new_plan
from tenant_migration.workflow.validate import verify
from tenant_migration_tests.servers import Servers, system_programs
from tenant_migration_tests.workflow.conftest import ORGANIZATION


def test_rows_that_spell_a_tenant_in_another_case_are_its_own(servers: Servers) -> None:
    versions = [version for version, programs in system_programs().items() if programs.exists()]
    if not versions:
        pytest.skip("needs citext: the embedded servers have no extensions and this machine no PostgreSQL")
    server = servers.get(versions[0])
    name = server.create_database()
    with psycopg.connect(server.superuser_url(name), autocommit=True) as superuser:
        if not superuser.execute("SELECT FROM pg_available_extensions WHERE name = 'citext'").fetchall():
            pytest.skip(f"PostgreSQL {server.version} of this machine carries no extension citext")
        superuser.execute("CREATE EXTENSION citext")
    config = MigrationConfig()
    with psycopg.connect(server.url(name), autocommit=True) as owner:
        owner.execute(
            "CREATE TABLE organizations (id uuid PRIMARY KEY, parent_id uuid, slug text, name text);"
            f"INSERT INTO organizations VALUES ('{ORGANIZATION.format(1)}'), ('{ORGANIZATION.format(2)}');"
            "CREATE TABLE codes (id integer PRIMARY KEY, tenant_id citext);"
            "CREATE INDEX ON codes (tenant_id);"
            "INSERT INTO codes SELECT n, (ARRAY['Acme', 'ACME', 'acme', 'Zeta'])[1 + n % 4]"
            " FROM generate_series(1, 4000) AS n"
        )
        with connect(server.url(name)) as connection:
            install(connection, config)
            owner.execute(
                "INSERT INTO tenant_org_mappings (tenant_id, organization_id)"
                " VALUES ('ACME', %s), ('zeta', %s)",
                [ORGANIZATION.format(1), ORGANIZATION.format(2)],
            )
            plan = stored_or_new_plan(connection, config, actor="test")
            assert not [h for h in plan.tables[0].hazards if h.name == "unmapped_tenants"]
            migrate(connection, config, plan, actor="test", tenants=["zeta"])
            outcomes = migrate(connection, config, plan, actor="test")
            assert [outcome.state for outcome in outcomes] == ["completed"]
            assert verify(connection, config, plan, actor="test")["status"] == "pass"
        counted = owner.execute(
            "SELECT lower(tenant_id::text), organization_id::text, count(*) FROM codes"
            " GROUP BY 1, 2 ORDER BY 1"
        ).fetchall()
    assert counted == [("acme", ORGANIZATION.format(1), 3000), ("zeta", ORGANIZATION.format(2), 1000)]
    server.drop_database(name)
