"""The journal's shape: one row a batch, with parallel arrays of what was written.

`journal_<table_id>`: `tenant_numbers[i]` and `key_1[i], key_2[i], ...` belong to one row. Without a row
identity, `row_ctid[i]` is where the new version was put. The written value is the run's organization of the
tenant. Phase `kept` is no write: it records values that were there and stay (`previous_values`).

A rollback closes entries: an open entry is one of a batch without `closed_at` whose tenant is not in
`closed_tenants`. A batch too large for one step of a rollback is divided: the new rows name the batch they
are `part_of`, whose number says when the rows were written (`written_in`).
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from tenant_migration.backfill.target import of_row
from tenant_migration.planning.model import TablePlan

KEPT = "kept"
"""Phase of rows that were not written: their own value stays."""

_INCOMPRESSIBLE = frozenset({"pg_catalog.uuid", "pg_catalog.int8", "pg_catalog.int4", "pg_catalog.int2"})


@dataclass(frozen=True)
class KeyColumn:
    """One parallel array of the journal."""

    name: str
    expression: sql.Composable
    element_type: sql.Composable
    """For DDL."""


def journal_relation(table_id: int) -> str:
    """Return the journal's bare name in schema `tenant_migration`."""
    return f"journal_{table_id}"


def journal_name(table_id: int) -> sql.Identifier:
    """Return the journal's quoted name."""
    return sql.Identifier("tenant_migration", journal_relation(table_id))


def is_open(number: sql.Composable) -> sql.Composed:
    """Build the condition that an entry of batch `j` is open.

    Args:
        number: the entry's tenant number.
    """
    return sql.SQL("j.closed_at IS NULL AND {} <> ALL (j.closed_tenants)").format(number)


def written_in() -> sql.SQL:
    """Return the number of the batch that wrote the rows of `j`, also when it was divided since."""
    return sql.SQL("coalesce(j.part_of, j.batch_id)")


def key_columns(table: TablePlan) -> list[KeyColumn]:
    """Return the arrays that identify a row: its key columns, or the ctid of its new version."""
    if not table.key_columns:
        return [KeyColumn("row_ctid", sql.SQL("t.ctid"), sql.SQL("pg_catalog.tid"))]
    return [
        KeyColumn(f"key_{number}", of_row(column.name), sql.Identifier(column.type_schema, column.type_name))
        for number, column in enumerate(table.key_columns, start=1)
    ]


_CREATE = """
CREATE TABLE {journal} (
    batch_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id          bigint NOT NULL,
    leaf            oid NOT NULL,
    phase           text NOT NULL CHECK (phase IN ('bulk', 'selection', 'sweep', 'kept')),
    page_from       bigint,
    page_to         bigint,
    wave            smallint,
    row_count       integer NOT NULL CHECK (row_count > 0),
    xid             xid8 NOT NULL,
    tenant_numbers  integer[] NOT NULL CHECK (cardinality(tenant_numbers) = row_count),
    {keys},
    previous_values uuid[],
    fingerprints    bigint[],
    committed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    part_of         bigint,
    closed_tenants  integer[] NOT NULL DEFAULT '{{}}',
    closed_rows     integer NOT NULL DEFAULT 0 CHECK (closed_rows <= row_count),
    closed_at       timestamptz
) WITH (fillfactor = 70)"""
"""A rollback changes only the last three columns, which no index has: with room on the page, in place."""


def create_journal(table: TablePlan, table_id: int) -> list[sql.Composed]:
    """Build the statements that create the journal, for one transaction."""
    columns = key_columns(table)
    keys = [
        sql.SQL("{name} {type}[] NOT NULL CHECK (cardinality({name}) = row_count)").format(
            name=sql.Identifier(column.name), type=column.element_type
        )
        for column in columns
    ]
    journal = journal_name(table_id)
    statements = [
        sql.SQL(_CREATE).format(journal=journal, keys=sql.SQL(",\n    ").join(keys)),
        sql.SQL("SELECT tenant_migration.make_private({})").format(
            sql.Literal(f"tenant_migration.{journal_relation(table_id)}")
        ),
    ]
    # Trying to compress costs 2 % of a batch and saves 2 bytes of WAL a row; uuids do not compress at all.
    uncompressed = ["tenant_numbers"] + [
        column.name
        for column, reference in zip(columns, table.key_columns, strict=False)
        if reference.base_type in _INCOMPRESSIBLE
    ]
    statements += [
        sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET STORAGE EXTERNAL").format(journal, sql.Identifier(name))
        for name in uncompressed
    ]
    return statements


def index_journal(table_id: int) -> sql.Composed:
    """Build the index that finds the batches of one tenant."""
    return sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} USING gin (tenant_numbers)").format(
        sql.Identifier(f"{journal_relation(table_id)}_tenant_numbers_idx"), journal_name(table_id)
    )


def rows_by_tenant(table_id: int, *, by_index: bool) -> sql.Composed:
    """Build the count of (tenant number, rows written, rows written by run `run_id`) of the open journal.

    Args:
        table_id: of the managed table.
        by_index: only the batches of the tenants `tenant_numbers`, by the journal's index.
    """
    return sql.SQL(
        "SELECT number, count(*), count(*) FILTER (WHERE j.run_id = %(run_id)s)"
        " FROM {journal} AS j, unnest(j.tenant_numbers) AS number"
        " WHERE j.phase <> 'kept' AND {open}{of_tenants} GROUP BY number"
    ).format(
        journal=journal_name(table_id),
        open=is_open(sql.Identifier("number")),
        of_tenants=sql.SQL(
            " AND j.tenant_numbers && %(tenant_numbers)s::int4[]"
            " AND number = ANY (%(tenant_numbers)s::int4[])"
            if by_index
            else ""
        ),
    )
