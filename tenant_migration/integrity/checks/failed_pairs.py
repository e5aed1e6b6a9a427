"""Pairs of table and tenant whose migration failed: what was asked for and is not done."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import DatabaseCheck
from tenant_migration.integrity.scope import DatabaseScope
from tenant_migration.integrity.sources.pairs import STATE, counted_pairs, listed_pairs, pairs


def _pairs(scope: DatabaseScope) -> sql.Composed:
    return pairs(scope, sql.SQL("{} = 'failed'").format(STATE))


CHECK = DatabaseCheck(
    name="failed_pairs",
    phase="post-migration",
    severity="critical",
    description="Pairs of table and tenant whose migration failed",
    recommendation="`status --detailed` names the reason of each; mend it and migrate again.",
    build=lambda scope: counted_pairs(_pairs(scope)),
    wrong_rows=lambda scope: listed_pairs(_pairs(scope)),
    about=lambda scope: f"{scope.plan.interface_schema}.tenant_org_mappings",
    counts_over_tables=True,
)
