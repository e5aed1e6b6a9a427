"""What the application's own tables hold, asked in plain SQL that knows nothing of the tool."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql

from tenant_migration.quickstart.sample.allocation import TABLES


@dataclass(frozen=True)
class Application:
    """Asks for rows and for what they carry."""

    connection: psycopg.Connection

    def filled(self, table: str) -> dict[str | None, int]:
        """Rows with an organization, by tenant."""
        if not self.has_column(table):
            return {}
        return dict(
            self.connection.execute(
                sql.SQL(
                    "SELECT tenant_id, count(*) FROM {} WHERE organization_id IS NOT NULL GROUP BY 1"
                ).format(sql.Identifier(table))
            ).fetchall()
        )

    def rows(self, table: str) -> dict[str | None, int]:
        """Rows whose tenant has a mapping, by tenant."""
        return dict(
            self.connection.execute(
                sql.SQL(
                    "SELECT t.tenant_id, count(*) FROM {} t"
                    " JOIN tenant_org_mappings m ON m.tenant_id = t.tenant_id GROUP BY 1"
                ).format(sql.Identifier(table))
            ).fetchall()
        )

    def wrong(self) -> int:
        """Rows whose organization is not the mapped one, over all tables that have the column."""
        wrong = 0
        for table in TABLES:
            if self.has_column(table):
                [(count,)] = self.connection.execute(
                    sql.SQL(
                        "SELECT count(*) FROM {} t"
                        " LEFT JOIN tenant_org_mappings m ON m.tenant_id = t.tenant_id"
                        " WHERE t.organization_id IS NOT NULL"
                        " AND t.organization_id IS DISTINCT FROM m.organization_id"
                    ).format(sql.Identifier(table))
                )
                wrong += count
        return wrong

    def has_column(self, table: str) -> bool:
        """Whether the table has an organization column."""
        return bool(
            self.connection.execute(
                "SELECT FROM pg_attribute WHERE attrelid = %s::regclass AND attname = 'organization_id'"
                " AND NOT attisdropped",
                [table],
            ).fetchall()
        )

    def untouched(self) -> bool:
        """Whether no table was given a column, and nothing of the tool's was done."""
        [(runs,)] = self.connection.execute("SELECT count(*) FROM tenant_migration.runs")
        return runs == 0 and not any(self.has_column(table) for table in TABLES)
