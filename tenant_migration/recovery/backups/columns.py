"""What is copied of a table: its columns as they are now, and how a column's values are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from tenant_migration.catalog.columns import read_columns
from tenant_migration.catalog.model import Column
from tenant_migration.database.names import identifier
from tenant_migration.errors import OperationFailed, PlanOutdated, Refused
from tenant_migration.planning.model import TablePlan

BACKUP_COLUMN = "tenant_migration_backup_id"
"""Holds the backup's number in relations that several backups share."""

_EQUAL_MEANS_SAME = frozenset(
    f"pg_catalog.{name}"
    for name in (
        "bool", "bytea", "char", "date", "int2", "int4", "int8", "name", "oid", "text", "time", "timestamp",
        "timestamptz", "uuid", "varchar",
    )
)  # fmt: skip
"""Types of which two values that are equal are the same to the bit."""
_IMAGES = {
    "pg_catalog.bpchar": "bpcharsend",
    "pg_catalog.float4": "float4send",
    "pg_catalog.float8": "float8send",
    "pg_catalog.interval": "interval_send",
    "pg_catalog.numeric": "numeric_send",
    "pg_catalog.timetz": "timetz_send",
}
"""Types of which different values can be equal (1.0 and 1.00, 1 day and 24 hours): compared by their image.
All others are compared as text; json, xml and point have no equality at all."""
_HASHES = {
    "pg_catalog.int2": "hashint2extended",
    "pg_catalog.int4": "hashint4extended",
    "pg_catalog.int8": "hashint8extended",
    "pg_catalog.text": "hashtextextended",
    "pg_catalog.timestamp": "timestamp_hash_extended",
    "pg_catalog.timestamptz": "timestamp_hash_extended",
    "pg_catalog.uuid": "uuid_hash_extended",
    "pg_catalog.varchar": "hashtextextended",
}
"""The hash function of frequent types; the others go through a record."""
CHECKSUM_FORMULA = 1
"""Number of `checksum_of`. A change of what it computes for any table needs a new one: the manifest keeps it
beside the checksum, and only checksums of one formula are compared."""
_COLLATED = frozenset({"pg_catalog.text", "pg_catalog.varchar", "pg_catalog.name"})

_RELATION = """
SELECT c.oid, c.relkind::text, row_security_active(c.oid), has_table_privilege(c.oid, 'SELECT')
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s"""


@dataclass(frozen=True)
class Source:
    """A table that is to be copied, as it is now."""

    table: TablePlan
    table_id: int
    columns: tuple[Column, ...]

    @property
    def column_names(self) -> list[str]:
        """Every column, in order."""
        return [column.name for column in self.columns]

    @property
    def backup_column(self) -> str:
        """A name for the column with the backup's number that no column of the table has."""
        taken = set(self.column_names)
        name, number = BACKUP_COLUMN, 1
        while name in taken:
            number += 1
            name = f"{BACKUP_COLUMN}_{number}"
        return name

    @property
    def fingerprint(self) -> str:
        """Eight characters that differ when the columns do, by name, type or order."""
        described = "\n".join(f"{column.name}\t{column.type_sql}" for column in self.columns)
        return hashlib.sha256(described.encode()).hexdigest()[:8]

    @property
    def rows(self) -> sql.Composed:
        """The table as a FROM item, for queries with parameters; partitions are read through the root."""
        only = sql.SQL("" if self.table.partitioned else "ONLY ")
        return only + identifier(self.table.schema_name, self.table.table_name)


@contextmanager
def naming_the_locked(table: TablePlan) -> Iterator[None]:
    """Say which table it is when the body waits too long for a lock.

    Raises:
        OperationFailed: in place of PostgreSQL's message, which names no table.
    """
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise OperationFailed(
            f"{table.qualified_name}: another session keeps it locked against reading for longer than we "
            "wait. Start the backup again when that has ended"
        ) from error


def read_source(connection: psycopg.Connection, table: TablePlan, table_id: int) -> Source:
    """Read what there is to copy. Part of a transaction, whose search path the names of types depend on.

    Raises:
        PlanOutdated: the table, or its tenant key, is gone.
        Refused: this role may not read it, would see a part of its rows only, or it has foreign partitions.
    """
    with naming_the_locked(table):
        return _read(connection, table, table_id)


def _read(connection: psycopg.Connection, table: TablePlan, table_id: int) -> Source:
    row = connection.execute(_RELATION, (table.schema_name, table.table_name)).fetchone()
    if row is None or row[1] not in {"r", "p"}:
        raise PlanOutdated(
            f"table {table.qualified_name} is no longer there; write a new plan (`plan --write`)"
        )
    oid, _, is_filtered, is_readable = row
    role = connection.info.user
    if not is_readable:
        raise Refused(
            f"{table.qualified_name}: role {role} may not read it, so it cannot be backed up. "
            f"As its owner: GRANT SELECT ON the table TO {role}"
        )
    if is_filtered:
        raise Refused(
            f"{table.qualified_name}: row security applies to role {role}, whose backup would hold a part of "
            "the rows only. Connect as a role with BYPASSRLS, or as the owner where it is not forced"
        )
    foreign = connection.execute(
        "SELECT c.oid::regclass::text FROM pg_partition_tree(%s::oid) AS tree"
        " JOIN pg_class AS c ON c.oid = tree.relid WHERE c.relkind = 'f' LIMIT 1",
        (oid,),
    ).fetchone()
    if foreign is not None:
        raise Refused(
            f"{table.qualified_name}: its partition {foreign[0]} is foreign: on another server there is no "
            "snapshot together with the other rows. Back it up there"
        )
    columns = tuple(read_columns(connection, [oid])[oid])
    if table.tenant_column.name not in {column.name for column in columns}:
        raise PlanOutdated(
            f"{table.qualified_name}: column {table.tenant_column.name!r} is no longer there; "
            "write a new plan (`plan --write`)"
        )
    return Source(table, table_id, columns)


def value_of(column: Column) -> sql.Composed:
    """Return `t."column"` as an expression of which two results are equal only when they are the same.

    For queries with parameters. A collation that takes different texts as equal (`a` and `A`) is left aside.
    """
    value = sql.SQL("t.{}").format(identifier(column.name))
    if column.base_type in _IMAGES:
        return sql.SQL("pg_catalog.{}({})").format(sql.Identifier(_IMAGES[column.base_type]), value)
    if column.base_type not in _EQUAL_MEANS_SAME:
        value = sql.SQL("{}::text").format(value)
    elif column.base_type not in _COLLATED:
        return value
    return sql.SQL('{} COLLATE "C"').format(value)


def checksum_of(columns: Sequence[Column]) -> sql.Composed:
    """Return the aggregate over rows `t` that is equal for the same rows, whatever their order.

    Each column is hashed with a seed of its own, and the row once more: sums of a record's plain hash, which
    is linear in its columns, miss exchanged values. Frequent types go into their hash function directly: a
    record of them takes twice the time.
    """
    hashes = []
    others = []
    for seed, column in enumerate(columns, start=1):
        function = _HASHES.get(column.base_type)
        if function is None:
            others.append(value_of(column))
            continue
        argument = value_of(column)
        if column.base_type == "pg_catalog.timestamptz":
            argument = sql.SQL("{} AT TIME ZONE INTERVAL '0'").format(argument)  # the same bits, quickly
        hashes.append(
            sql.SQL("coalesce({}({}, {seed}), {seed})").format(
                sql.Identifier("pg_catalog", function), argument, seed=sql.Literal(seed)
            )
        )
    if others:
        hashes.append(sql.SQL("hash_record_extended(ROW({}), 0)").format(sql.SQL(", ").join(others)))
    return sql.SQL("coalesce(sum(hashint8extended({}, 0)), 0)").format(sql.SQL(" # ").join(hashes))


def pin_text_forms(connection: psycopg.Connection) -> None:
    """Fix, for this transaction, every setting that the text of a value depends on."""
    connection.execute(
        "SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO, YMD', true),"
        " set_config('IntervalStyle', 'postgres', true), set_config('extra_float_digits', '3', true),"
        " set_config('bytea_output', 'hex', true), set_config('xmloption', 'content', true),"
        " set_config('lc_monetary', 'C', true)"
    )
