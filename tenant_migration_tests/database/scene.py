"""A small application beside an installation: what the tests of `sql/` act on."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

ORGANIZATIONS = "CREATE TABLE organizations (id uuid PRIMARY KEY, parent_id uuid, slug text, name text)"


@dataclass
class Scene:
    """Wraps the owner's connection with the few things that every test of states and mappings needs."""

    connection: psycopg.Connection

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(query, parameters or None).fetchall()

    def value(self, query: str, *parameters: Any) -> Any:
        row = self.connection.execute(query, parameters or None).fetchone()
        assert row is not None, f"no row: {query}"
        return row[0]

    def execute(self, query: str, *parameters: Any) -> int:
        return self.connection.execute(query, parameters or None).rowcount

    def organization(self, parent: uuid.UUID | None = None) -> uuid.UUID:
        identifier = uuid.uuid4()
        self.execute("INSERT INTO organizations (id, parent_id) VALUES (%s, %s)", identifier, parent)
        return identifier

    def map(self, *tenants: str) -> dict[str, int]:
        """Map each tenant to an organization of its own; return tenant -> tenant number."""
        for tenant in tenants:
            self.execute(
                "INSERT INTO tenant_org_mappings (tenant_id, organization_id) VALUES (%s, %s)",
                tenant,
                self.organization(),
            )
        return dict(
            self.rows(
                "SELECT tenant_id, tenant_number FROM tenant_migration.tenants WHERE tenant_id = ANY(%s)",
                list(tenants),
            )
        )

    def manage(self, *tables: str, tenant_column: str = "tenant_id") -> list[int]:
        """Record tables (`schema.name` or `name`) as the stored plan's, in this order; return ids."""
        self.execute(
            "INSERT INTO tenant_migration.plans (plan, plan_hash, tool_version, created_by) "
            "VALUES ('{}', 'test', 'test', 'test')"
        )
        identifiers = []
        for position, table in enumerate(tables):
            schema, _, name = table.rpartition(".")
            identifiers.append(
                self.value(
                    "INSERT INTO tenant_migration.managed_tables (table_schema, table_name, tenant_column, "
                    "organization_column, key_type, position, component, table_hash) "
                    "VALUES (%s, %s, %s, 'organization_id', '\"pg_catalog\".\"text\"', %s, %s, 'h') "
                    "RETURNING table_id",
                    schema or "public",
                    name,
                    tenant_column,
                    position,
                    position,
                )
            )
        return identifiers

    def run(self, kind: str = "migrate") -> int:
        run_id: int = self.value(
            "INSERT INTO tenant_migration.runs (kind, actor, tool_version, host, process_id) "
            "VALUES (%s, 'anna', 'test', 'here', 1) RETURNING run_id",
            kind,
        )
        return run_id

    def pair(
        self, table_id: int, tenant_number: int, *states: str, rows: int = 0, reason: str | None = None
    ) -> None:
        """Lead a (table, tenant) pair through these states."""
        self.execute(
            "INSERT INTO tenant_migration.table_states (table_id, tenant_number, actor) VALUES (%s, "
            "%s, 'anna') "
            "ON CONFLICT DO NOTHING",
            table_id,
            tenant_number,
        )
        for state in states:
            self.execute(
                "UPDATE tenant_migration.table_states SET state = %s, rows_migrated = %s, reason = %s, "
                "actor = 'anna', updated_at = clock_timestamp() WHERE table_id = %s AND tenant_number = %s",
                state,
                rows,
                reason,
                table_id,
                tenant_number,
            )

    def lease(
        self,
        table_id: int,
        tenant_number: int | None,
        run_id: int,
        ttl: str = "1 minute",
        holder: str = "run",
    ) -> tuple[uuid.UUID, bool, str | None]:
        """Ask for a lease with a new token; return token, whether it was given, and who has it otherwise."""
        token = uuid.uuid4()
        row = self.connection.execute(
            "SELECT * FROM tenant_migration.acquire_lease(%s, %s, %s, %s, %s, %s::interval)",
            [token, table_id, tenant_number, run_id, holder, ttl],
        ).fetchone()
        assert row is not None
        return token, row[0], row[1]

    def role(self, name: str) -> None:
        """Act as another role until `reset_role`; the owner has to be a member of it."""
        self.connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(name)))

    def reset_role(self) -> None:
        self.connection.execute("RESET ROLE")
