"""Nobody changed the past: each row of the audit log carries the seal of the one before it.

A cut tail cannot be seen from inside; for that the anchor outside of the database is compared (`audit
--verify`).
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import DatabaseCheck, Verdict
from tenant_migration.integrity.scope import DatabaseScope
from tenant_migration.integrity.verdict import verdict

_CHAIN = sql.SQL("tenant_migration.verify_audit_chain() AS c").format()

# Whatever is recorded as migrated left a row here.
_EXPECTED = """
CASE WHEN EXISTS (SELECT FROM tenant_migration.table_runs) THEN 1 END
"""


def _build(scope: DatabaseScope) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("(SELECT c.entries FROM {})").format(_CHAIN),
        count=sql.SQL("(SELECT count(c.first_bad_seq) FROM {})").format(_CHAIN),
        source=sql.SQL("(SELECT) AS nothing"),
        expected=sql.SQL(_EXPECTED),
        examples=sql.SQL("ARRAY(SELECT c.first_bad_seq::text FROM {})").format(_CHAIN),
    )


CHECK = DatabaseCheck(
    name="audit_chain",
    phase="post-migration",
    severity="critical",
    description="Rows of the audit log whose seal is broken: the number is that of the first",
    recommendation="Somebody changed the audit log behind its triggers. Compare it with a backup of the "
    "database from before, and find out who could.",
    examples_are_names=True,
    build=_build,
    wrong_rows=lambda scope: sql.SQL("SELECT c.* FROM {} WHERE c.first_bad_seq IS NOT NULL").format(_CHAIN),
    about=lambda scope: f"{scope.plan.interface_schema}.migration_audit_log",
)
