"""The other columns of a row are what they were before the migration wrote it, while nobody wrote it since.

The journal has a fingerprint of each row as it was (`fingerprints: journal`). A row that still carries the
transaction of its batch was written by nobody else: when its content is another one, our UPDATE, a trigger in
it, or something below PostgreSQL changed it. A row that was written since is not judged, since an application
may write its rows; `content_changed_since` counts those that are different.
"""

from __future__ import annotations

from typing import Any

from psycopg import sql

from tenant_migration.integrity.check import TableCheck, Verdict
from tenant_migration.integrity.model import SeverityLevel
from tenant_migration.integrity.scope import TableScope, nothing_recorded
from tenant_migration.integrity.sources.contents import compared_rows
from tenant_migration.integrity.sources.rows_after import ROWS_AFTER
from tenant_migration.integrity.verdict import first_examples, tenants_detail, verdict

_UNTOUCHED, _TOUCHED = "c.is_untouched", "NOT c.is_untouched"

_BY_TENANT = """
SELECT r.tenant_id, c.{changed} AS wrong FROM contents AS c JOIN recorded AS r USING (tenant_number)
"""

_NONE_FINGERPRINTED = "these rows were migrated without fingerprints (`fingerprints: journal`)"

# Without a single fingerprint there is nothing that could pass.
_DETAILS = """
(SELECT CASE WHEN coalesce(sum(c.fingerprinted), 0) = 0 AND sum(c.not_fingerprinted) > 0
             THEN jsonb_build_object('skipped', {none_fingerprinted}::text) ELSE '{{}}' END
     || jsonb_build_object('not_fingerprinted', coalesce(sum(c.not_fingerprinted), 0),
                           'written_since', coalesce(sum(c.changed_since), 0)) || {tenants}
 FROM contents AS c)
"""


def _verdict(scope: TableScope, changed: str, condition: str) -> Verdict:
    by_tenant = sql.SQL(_BY_TENANT).format(changed=sql.Identifier(changed))
    return verdict(
        rows_checked=sql.SQL("sum(c.compared)"),
        count=sql.SQL("sum(c.{})").format(sql.Identifier(changed)),
        source=sql.SQL("contents AS c"),
        expected=sql.SQL("sum(c.fingerprinted)"),
        examples=first_examples(_rows(scope, condition)),
        details=sql.SQL(_DETAILS).format(
            none_fingerprinted=sql.Literal(_NONE_FINGERPRINTED),
            tenants=sql.SQL("CASE WHEN v.count > 0 THEN {} ELSE '{{}}' END").format(
                tenants_detail(by_tenant)
            ),
        ),
        details_when_passed=True,
    )


def _rows(scope: TableScope, condition: str) -> sql.Composed:
    return sql.SQL("SELECT c.example FROM ({}) AS c WHERE c.differs AND {}").format(
        compared_rows(scope), sql.SQL(condition)
    )


def _wrong_rows(scope: TableScope, condition: str) -> sql.Composed:
    if condition == _TOUCHED and not scope.table.key_columns:
        return sql.SQL("WITH {} SELECT c.* FROM contents AS c WHERE c.changed_since > 0").format(
            ROWS_AFTER.build(scope)
        )
    return sql.SQL("WITH {} {}").format(ROWS_AFTER.build(scope), _rows(scope, condition))


def _not_applicable(scope: TableScope) -> str | None:
    if scope.facts.contents and scope.facts.has_journal:
        return nothing_recorded(scope)
    return nothing_recorded(scope) or scope.facts.contents_missing


def _severity(scope: TableScope) -> SeverityLevel:
    """Where a trigger that changes columns was allowed to fire, what it changed is no surprise."""
    is_allowed = any(hazard.name == "trigger_changes_columns" for hazard in scope.table.hazards)
    return "warning" if is_allowed else "critical"


_COMMON: dict[str, Any] = {
    "phase": "post-migration",
    "source": ROWS_AFTER,
    "not_applicable": _not_applicable,
}

CHECK = TableCheck(
    name="content_unchanged",
    severity="critical",
    description="Rows whose other columns are not what they were before the migration wrote them",
    recommendation="Look for triggers that change other columns; compare these rows with a backup.",
    build=lambda scope: _verdict(scope, "changed", _UNTOUCHED),
    wrong_rows=lambda scope: _wrong_rows(scope, _UNTOUCHED),
    severity_in=_severity,
    **_COMMON,
)

SINCE = TableCheck(
    name="content_changed_since",
    severity="info",
    description="Rows that were written again since their migration, and have another content",
    recommendation="Nothing to do where an application works on this table. Where nobody should have "
    "written, raise validation.severity.content_changed_since and compare these rows with a backup.",
    build=lambda scope: _verdict(scope, "changed_since", _TOUCHED),
    wrong_rows=lambda scope: _wrong_rows(scope, _TOUCHED),
    **_COMMON,
)
