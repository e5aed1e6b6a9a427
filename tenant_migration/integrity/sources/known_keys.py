"""The mapping's keys of a type, computed once for all tables and kept in settings of the transaction.

`canonical_key` costs some microseconds: nothing for one table, minutes for 5,000 mappings in each of 1,000
tables. A setting is the only place that a read-only transaction can write to; as literals the keys would be
sent, parsed and logged with every statement.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.scope import TableScope
from tenant_migration.integrity.sources.tables import canonical_key, mappings
from tenant_migration.planning.model import TablePlan

# Two mappings with one key (`AB-1` and `ab-1` for a uuid) are a finding of their own; here the first counts.
_OF_TYPE = """
SELECT DISTINCT ON (k.key) k.key, m.tenant_id, m.organization_id
FROM {mappings} AS m CROSS JOIN LATERAL (SELECT {canonical} AS key) AS k
WHERE {tenants} AND k.key IS NOT NULL ORDER BY k.key, m.tenant_id
"""

_REMEMBER = """
SELECT set_config({keys}, coalesce(array_agg(k.key::text), '{{}}')::text, true),
       set_config({tenants}, coalesce(array_agg(k.tenant_id), '{{}}')::text, true),
       set_config({organizations}, coalesce(array_agg(k.organization_id), '{{}}')::text, true)
FROM ({of_type}) AS k
"""

# Each setting in a SELECT of its own: the planner would read it too, for an estimate that is not needed.
_REMEMBERED = """
SELECT k.key::{type} AS key, k.tenant_id, k.organization_id
FROM unnest((SELECT current_setting({keys})::text[]), (SELECT current_setting({tenants})::text[]),
            (SELECT current_setting({organizations})::uuid[])) AS k(key, tenant_id, organization_id)
"""


def keys_of_type(table: TablePlan, interface_schema: str, tenants: sql.Composable) -> sql.Composed:
    """Return a SELECT of (key, tenant_id, organization_id): the mapping in the type of a table's key.

    Args:
        table: whose key.
        interface_schema: where the mapping is.
        tenants: condition on `m.tenant_id`.
    """
    return sql.SQL(_OF_TYPE).format(
        mappings=mappings(interface_schema),
        canonical=canonical_key(table, sql.Identifier("m", "tenant_id")),
        tenants=tenants,
    )


def remember_keys(table: TablePlan, interface_schema: str, number: int) -> sql.Composed:
    """Return the SELECT that puts the keys of a table's type into settings with this number."""
    return sql.SQL(_REMEMBER).format(
        of_type=keys_of_type(table, interface_schema, sql.SQL("TRUE")), **_settings(number)
    )


def remembered_keys(scope: TableScope) -> sql.Composed | None:
    """Return the SELECT of (key, tenant_id, organization_id) from the settings, or None when not there."""
    key = scope.table.tenant_column
    number = scope.known_keys.get(key.quoted_type)
    if number is None:
        return None
    return sql.SQL(_REMEMBERED).format(
        type=sql.Identifier(key.type_schema, key.type_name), **_settings(number)
    )


def _settings(number: int) -> dict[str, sql.Composable]:
    return {
        what: sql.Literal(f"tenant_migration.known_{what}_{number}")
        for what in ("keys", "tenants", "organizations")
    }
