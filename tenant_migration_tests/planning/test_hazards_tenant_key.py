"""Keys that are none: a row with several tenants."""

from __future__ import annotations

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.database.install import install
from tenant_migration.planning.builder import build_plan


@pytest.mark.parametrize("key_type", ["text[]", "uuid[]", "several_tenants"])
def test_a_key_of_an_array_type_is_refused(connection: psycopg.Connection, key_type: str) -> None:
    """Also through a domain, and where the rows can be counted."""
    connection.execute(
        "CREATE TABLE organizations (id uuid PRIMARY KEY); "
        "INSERT INTO organizations VALUES ('00000000-0000-4000-8000-000000000001'); "
        "CREATE DOMAIN several_tenants AS text[]; "
        f"CREATE TABLE shared (id integer PRIMARY KEY, tenant_id {key_type}); "
        "INSERT INTO shared VALUES (1, '{6f1b5e0a-0000-4000-8000-00000000000a}'), (2, NULL); "
        "CREATE TABLE own (id integer PRIMARY KEY, tenant_id text)"
    )
    install(connection, MigrationConfig())
    connection.execute("INSERT INTO tenant_org_mappings SELECT 'a', id FROM organizations")
    plan = build_plan(connection, MigrationConfig())
    shared, own = plan.table("public.shared"), plan.table("public.own")
    assert shared is not None
    assert own is not None
    assert [hazard.name for hazard in shared.refusals] == ["tenant_key_is_array"]
    assert key_type in shared.refusals[0].detail
    assert own.refusals == ()
