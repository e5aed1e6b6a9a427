"""Tables whose policies would hide rows from this role: it would see, and change, a part of them, silently.

Asked of every table that is written, of its partitions (they are written under their own names), and of the
tables that are only read: organizations and mapping.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import DatabaseCheck, TableCheck, Verdict
from tenant_migration.integrity.scope import DatabaseScope
from tenant_migration.integrity.sources.catalog import MEMBERS, OF_MEMBERS, table_and_partitions
from tenant_migration.integrity.verdict import first_examples, verdict

_HIDDEN = """
SELECT r.oid::regclass::text AS example, current_user::text AS role,
       ARRAY(SELECT p.polname::text FROM pg_policy AS p WHERE p.polrelid = r.oid ORDER BY 1) AS policies
FROM ({relations}) AS r WHERE row_security_active(r.oid)
"""


def _judge(relations: sql.Composable) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("count(*)"),
        count=sql.SQL("count(*) FILTER (WHERE row_security_active(r.oid))"),
        source=sql.SQL("({}) AS r").format(relations),
        examples=first_examples(_hidden(relations)),
    )


def _hidden(relations: sql.Composable) -> sql.Composed:
    return sql.SQL(_HIDDEN).format(relations=relations)


def _that_are_read(scope: DatabaseScope) -> sql.Composed:
    names = (
        (scope.organizations.schema_name, scope.organizations.table_name),
        (scope.plan.interface_schema, "tenant_org_mappings"),
    )
    return sql.SQL("SELECT v.name::regclass::oid AS oid FROM (VALUES {}) AS v(name)").format(
        sql.SQL(", ").join(
            sql.SQL("({})").format(sql.Literal(sql.Identifier(*name).as_string(None))) for name in names
        )
    )


_RECOMMENDATION = (
    "Connect as a role that bypasses row security, or as an owner on whom it is not forced: `plan` shows the "
    "statement."
)

OF_TABLES = TableCheck(
    name="row_security",
    phase="pre-migration",
    severity="critical",
    description="Row security would hide rows of the table from this role",
    recommendation=_RECOMMENDATION,
    examples_are_names=True,
    build=lambda scope: _judge(OF_MEMBERS),
    source=MEMBERS,
    wrong_rows=lambda scope: _hidden(table_and_partitions(scope.table)),
)

OF_WHAT_IS_READ = DatabaseCheck(
    name="row_security_of_organizations",
    phase="pre-migration",
    severity="critical",
    description="Row security would hide organizations or mappings from this role",
    recommendation=_RECOMMENDATION,
    examples_are_names=True,
    build=lambda scope: _judge(_that_are_read(scope)),
    wrong_rows=lambda scope: _hidden(_that_are_read(scope)),
    about=lambda scope: f"{scope.organizations.schema_name}.{scope.organizations.table_name}",
)
