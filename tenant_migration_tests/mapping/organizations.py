"""Organizations for the tests of the mapping, with ids that are easy to read."""

from __future__ import annotations

from uuid import UUID

import psycopg
from psycopg import sql


def organization(number: int) -> UUID:
    """Return the id of organization 1, 2, 3, ..."""
    return UUID(int=number)


def create_organizations(connection: psycopg.Connection, count: int = 9) -> None:
    """Create `public.organizations` with 1 to `count`, slugs `org-1` and names `Organization 1`."""
    connection.execute(
        "CREATE TABLE public.organizations (id uuid PRIMARY KEY, parent_id uuid, slug text UNIQUE, name text)"
    )
    connection.cursor().executemany(
        "INSERT INTO public.organizations (id, slug, name) VALUES (%s, %s, %s)",
        [(organization(n), f"org-{n}", f"Organization {n}") for n in range(1, count + 1)],
    )


def map_tenants(connection: psycopg.Connection, mapping: dict[str, int]) -> None:
    """Map tenants to organizations by number, as somebody with psql would."""
    connection.cursor().executemany(
        "INSERT INTO public.tenant_org_mappings (tenant_id, organization_id) VALUES (%s, %s)",
        [(tenant, organization(number)) for tenant, number in mapping.items()],
    )


def mark_rows_migrated(
    connection: psycopg.Connection, tenant: str, rows: int, state: str = "completed", table: str = "claims"
) -> None:
    """Record that rows of the tenant in a managed table carry its organization."""
    connection.execute(
        sql.SQL(
            "INSERT INTO tenant_migration.managed_tables (table_schema, table_name, tenant_column,"
            " organization_column, key_type, position, component, table_hash)"
            " VALUES ('public', {}, 'tenant_id', 'organization_id', '\"pg_catalog\".\"text\"', 0, 0, '')"
            " ON CONFLICT DO NOTHING"
        ).format(sql.Literal(table))
    )
    path = ["running", "verifying", "completed"]
    for step in path[: path.index(state) + 1]:
        connection.execute(
            "INSERT INTO tenant_migration.table_states (table_id, tenant_number, state, rows_migrated, actor)"
            " SELECT t.table_id, n.tenant_number, %s, %s, 'test' FROM tenant_migration.managed_tables t,"
            " tenant_migration.tenants n WHERE t.table_name = %s AND n.tenant_id = %s"
            " ON CONFLICT (table_id, tenant_number) DO UPDATE SET state = excluded.state",
            [step, rows, table, tenant],
        )
