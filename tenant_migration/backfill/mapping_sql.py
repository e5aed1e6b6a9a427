"""The frozen mapping as a common table expression that any statement over a managed table can join."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.backfill.target import text, type_name
from tenant_migration.planning.model import TablePlan

_FROZEN = """
map AS MATERIALIZED (
    SELECT tenant_number, key::{type} AS key, organization_id
    FROM tenant_migration.run_tenants
    WHERE run_id = %(run_id)s AND key_type = {key_type}
      AND (%(tenant_numbers)s::int4[] IS NULL OR tenant_number = ANY (%(tenant_numbers)s::int4[])))"""


def frozen_map(table: TablePlan) -> sql.Composed:
    """Build `map(tenant_number, key, organization_id)` of a run: parameters `run_id`, `tenant_numbers`.

    MATERIALIZED, so that the cast is applied to keys of this type only: another type's text would abort the
    statement (H12).
    """
    return sql.SQL(_FROZEN).format(
        type=type_name(table.tenant_column), key_type=text(table.tenant_column.quoted_type)
    )
