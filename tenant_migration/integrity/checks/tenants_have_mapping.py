"""Every tenant that owns rows has a mapping, or is allowed to have none.

Asked before, where it keeps a run from starting, and after: a tenant may have been born meanwhile.
"""

from __future__ import annotations

import unicodedata
from typing import Any

from psycopg import sql

from tenant_migration.integrity.check import Remark, TableCheck, Verdict
from tenant_migration.integrity.model import SAMPLE_LIMIT
from tenant_migration.integrity.scope import TableScope
from tenant_migration.integrity.sources.rows_after import ROWS_AFTER
from tenant_migration.integrity.sources.rows_before import ROWS_BEFORE, mapping_of
from tenant_migration.integrity.sources.spelling import resembling
from tenant_migration.integrity.sources.tables import (
    in_scope,
    key_is_one_of,
    same_tenant,
    table_name,
    tenant_key,
)
from tenant_migration.integrity.verdict import verdict

_UNMAPPED = """
SELECT g.key, sum(g.row_count) AS row_count
FROM rows_by_key AS g LEFT JOIN mapping AS m ON {same_tenant}
WHERE g.key IS NOT NULL AND m.key IS NULL AND NOT {allowed} GROUP BY g.key
"""

_WRONG_ROWS = """
SELECT {key}::text AS example, count(*) AS rows
FROM {table} AS t LEFT JOIN ({mapping}) AS m ON {same_tenant}
WHERE {key} IS NOT NULL AND m.key IS NULL AND {in_scope} AND NOT {allowed} GROUP BY {key}
"""

# "resembles" {value: tenant, or null where it stands for nobody} is there only when a value does.
_DETAILS = """
jsonb_build_object(
    'rows', (SELECT sum(u.row_count) FROM ({unmapped}) AS u),
    'rows_by_value', (
        SELECT jsonb_object_agg(u.value, u.row_count)
        FROM (SELECT u.key::text AS value, u.row_count FROM ({unmapped}) AS u
              ORDER BY u.row_count DESC, u.key::text LIMIT {limit}) AS u))
|| coalesce((
    SELECT jsonb_build_object(
        'resembling', count(*),
        'resembles', jsonb_object_agg(r.value, r.tenant_id) FILTER (WHERE r.place <= {limit}))
    FROM (SELECT s.value, s.tenant_id, row_number() OVER (ORDER BY s.value) AS place
          FROM ({resembling}) AS s) AS r
    HAVING count(*) > 0), '{{}}')
"""

_SHOWN = 3


def _build(scope: TableScope) -> Verdict:
    key = sql.Identifier("g", "key")
    unmapped = sql.SQL(_UNMAPPED).format(
        same_tenant=same_tenant(scope, key, sql.Identifier("m", "key")), allowed=_is_allowed(scope, key)
    )
    return verdict(
        rows_checked=sql.SQL("(SELECT sum(row_count) FROM rows_by_key)"),
        count=sql.SQL("count(*)"),
        source=sql.SQL("({}) AS u").format(unmapped),
        examples=sql.SQL(
            "ARRAY(SELECT u.key::text FROM ({}) AS u ORDER BY u.row_count DESC, u.key::text LIMIT {})"
        ).format(unmapped, sql.Literal(SAMPLE_LIMIT)),
        details=sql.SQL(_DETAILS).format(
            unmapped=unmapped,
            resembling=resembling(
                sql.SQL("SELECT u.key::text AS value FROM ({}) AS u").format(unmapped),
                scope.plan.interface_schema,
            ),
            limit=sql.Literal(SAMPLE_LIMIT),
        ),
    )


def _is_allowed(scope: TableScope, key: sql.Composable) -> sql.Composable:
    if not scope.allowed_unmapped_tenants:
        return sql.SQL("FALSE")
    return key_is_one_of(scope, key, scope.allowed_unmapped_tenants)


def _wrong_rows(scope: TableScope) -> sql.Composed:
    key = tenant_key(scope.table, "t")
    return sql.SQL(_WRONG_ROWS).format(
        key=key,
        table=table_name(scope),
        mapping=mapping_of(scope),
        same_tenant=same_tenant(scope, key, sql.Identifier("m", "key")),
        in_scope=in_scope(scope, "t"),
        allowed=_is_allowed(scope, key),
    )


def _near_misses(details: dict[str, Any]) -> Remark | None:
    resembles: dict[str, str | None] = details.get("resembles", {})
    if not resembles:
        return None
    shown = [_near_miss(value, tenant) for value, tenant in sorted(resembles.items())[:_SHOWN]]
    more = details["resembling"] - len(shown)
    return Remark(
        "near misses: " + ", ".join(shown) + (f", and {more:,} more" if more > 0 else ""),
        "Where a value is only another spelling of a mapped tenant, or stands for nobody, correct the rows "
        "(or map the value too) before the migration.",
    )


def _near_miss(value: str, tenant: str | None) -> str:
    if tenant is None:
        return f"{value!r} looks like no tenant at all"
    one_form = unicodedata.normalize("NFC", value) == unicodedata.normalize("NFC", tenant)
    quoted = ascii if one_form else repr  # printed as they are nobody could tell the two forms apart
    return f"{quoted(value)} looks like {quoted(tenant)}"


_COMMON: dict[str, Any] = {
    "name": "tenants_have_mapping",
    "description": "Tenant IDs without organization mapping",
    "recommendation": "Map these tenants (`mappings --import`, `mappings --suggest`), or list those that may "
    "have no organization in validation.allowed_unmapped_tenants.",
    "examples_are_names": True,
    "build": _build,
    "wrong_rows": _wrong_rows,
    "column": lambda scope: scope.table.tenant_column.name,
    "remark": _near_misses,
}

BEFORE = TableCheck(phase="pre-migration", severity="critical", source=ROWS_BEFORE, **_COMMON)
AFTER = TableCheck(phase="post-migration", severity="warning", source=ROWS_AFTER, **_COMMON)
