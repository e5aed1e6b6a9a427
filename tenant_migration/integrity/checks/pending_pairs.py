"""Pairs of table and tenant that are not migrated yet: one piece of information, with counts."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import DatabaseCheck
from tenant_migration.integrity.scope import MIGRATED_STATES, DatabaseScope
from tenant_migration.integrity.sources.pairs import STATE, counted_pairs, listed_pairs, pairs

NAME = "pending_pairs"


def _pairs(scope: DatabaseScope) -> sql.Composed:
    others = sql.Literal([*MIGRATED_STATES, "failed"])  # failed ones are `failed_pairs`
    return pairs(scope, sql.SQL("{} <> ALL ({}::text[])").format(STATE, others))


CHECK = DatabaseCheck(
    name=NAME,
    phase="post-migration",
    severity="info",
    description="Pairs of table and tenant that are not migrated yet",
    recommendation="Migrate what is pending; `status --detailed` shows where it stands.",
    build=lambda scope: counted_pairs(_pairs(scope)),
    wrong_rows=lambda scope: listed_pairs(_pairs(scope)),
    about=lambda scope: f"{scope.plan.interface_schema}.tenant_org_mappings",
    counts_over_tables=True,
)
