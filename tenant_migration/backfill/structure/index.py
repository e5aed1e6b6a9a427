"""Builds the index on the organization column without blocking writers.

`CREATE INDEX CONCURRENTLY` that fails or is killed leaves an INVALID index behind, which `IF NOT EXISTS`
takes for a good one (H6): so validity is looked at, and an INVALID one that is ours is dropped concurrently
first. A partitioned table takes no concurrent build: each leaf gets its index, attached to the parents'
(H16).
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql

from tenant_migration.backfill import failpoints
from tenant_migration.backfill.retry import message_of
from tenant_migration.backfill.structure import created_objects
from tenant_migration.backfill.structure.names import free_name
from tenant_migration.backfill.work import Work
from tenant_migration.catalog.model import TableName
from tenant_migration.database.connection import outside_transaction
from tenant_migration.errors import OperationFailed, Reaction, reaction_to
from tenant_migration.planning.model import TablePlan

_CLEAN_UP_LOCK_TIMEOUT_MS = 10_000
"""When the run is being stopped: what cannot be dropped so soon is dropped by the next run."""
_LOCK_TIMEOUT_MS = 600_000
"""A concurrent build waits for older transactions to end, blocking nobody meanwhile: the limit may be
long."""


@dataclass(frozen=True)
class _Node:
    """A table of the partition tree; an ordinary table is a tree of one leaf."""

    oid: int
    name: TableName
    parent_oid: int | None
    is_leaf: bool


_TREE = """
SELECT tree.relid::oid::int8, n.nspname::text, c.relname::text, tree.parentrelid::oid::int8, tree.isleaf
FROM pg_partition_tree(%(root)s::regclass) AS tree JOIN pg_class AS c ON c.oid = tree.relid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
UNION ALL
SELECT c.oid::int8, n.nspname::text, c.relname::text, NULL, true
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = %(root)s::regclass AND c.relkind <> 'p' AND NOT c.relispartition"""

_INDEXES = """
SELECT i.indexrelid::int8, n.nspname::text, ic.relname::text, i.indisvalid, inh.inhparent IS NOT NULL
FROM pg_index AS i JOIN pg_class AS ic ON ic.oid = i.indexrelid
JOIN pg_namespace AS n ON n.oid = ic.relnamespace
JOIN pg_am AS am ON am.oid = ic.relam
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attname = %s AND a.attnum = i.indkey[0]
LEFT JOIN pg_inherits AS inh ON inh.inhrelid = i.indexrelid
WHERE i.indrelid = %s::oid AND i.indpred IS NULL AND am.amname = 'btree'
ORDER BY i.indisvalid DESC, i.indexrelid"""


@dataclass(frozen=True)
class _Found:
    oid: int
    name: TableName
    valid: bool
    attached: bool


def _qualified(table: TablePlan) -> str:
    return sql.Identifier(table.schema_name, table.table_name).as_string()


def _indexes(connection: psycopg.Connection, table: TablePlan, relation_oid: int) -> list[_Found]:
    """Return the complete btree indexes that lead with the organization column, valid ones first."""
    rows = connection.execute(_INDEXES, (table.organization_column, relation_oid)).fetchall()
    return [
        _Found(oid, TableName(schema, name), valid, attached) for oid, schema, name, valid, attached in rows
    ]


def _tree(connection: psycopg.Connection, table: TablePlan) -> list[_Node]:
    """Return the partition tree, root first."""
    rows = connection.execute(_TREE, {"root": _qualified(table)}).fetchall()
    unique = {row[0]: _Node(row[0], TableName(row[1], row[2]), row[3], row[4]) for row in rows}
    return list(unique.values())


def index_exists(connection: psycopg.Connection, table: TablePlan) -> bool:
    """Say whether a valid, complete index leads with the organization column, on the root."""
    return any(found.valid for found in _indexes(connection, table, _tree(connection, table)[0].oid))


def is_being_built(connection: psycopg.Connection, table: TablePlan) -> bool:
    """Say whether somebody else builds any index of the table at this moment: it looks INVALID meanwhile."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_stat_progress_create_index WHERE datname = current_database()"
        " AND relid = ANY (%s::oid[]) AND pid <> pg_backend_pid())",
        ([node.oid for node in _tree(connection, table)],),
    ).fetchone()
    return bool(row and row[0])


def create_index_statement(table: TablePlan, on: TableName, name: str, *, partitioned: bool) -> sql.Composed:
    """Build the statement: concurrent for a table with rows, ON ONLY for a parent of partitions."""
    text = "CREATE INDEX {} ON ONLY {} ({})" if partitioned else "CREATE INDEX CONCURRENTLY {} ON {} ({})"
    return sql.SQL(text).format(
        sql.Identifier(name), sql.Identifier(on.schema, on.name), sql.Identifier(table.organization_column)
    )


def missing_indexes(connection: psycopg.Connection, table: TablePlan) -> list[sql.Composed]:
    """Return the statements that `ensure_index` would build indexes with. Reads only."""
    return [
        create_index_statement(
            table, node.name, _name_on(connection, table, node), partitioned=not node.is_leaf
        )
        for node in _tree(connection, table)
        if not any(index.valid for index in _indexes(connection, table, node.oid))
    ]


def _name_on(connection: psycopg.Connection, table: TablePlan, node: _Node) -> str:
    """Return the name of an INVALID one that we left, which is dropped first; else one that nobody has."""
    for index in _invalid_of_ours(connection, table, node):
        return index.name.name

    def is_taken(name: str) -> bool:
        relation = sql.Identifier(node.name.schema, name).as_string()
        row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (relation,)).fetchone()
        return bool(row and row[0])

    return free_name(is_taken, node.name.name, table.organization_column, "idx")


def _invalid_of_ours(connection: psycopg.Connection, table: TablePlan, node: _Node) -> list[_Found]:
    """Return INVALID indexes that an interrupted build of ours left; never another's."""
    return [
        index
        for index in _indexes(connection, table, node.oid)
        if not (index.valid or index.attached)
        and created_objects.is_registered(connection, "index", index.name.schema, index.name.name, node.name)
    ]


def ensure_index(work: Work) -> None:
    """Build the index, on every table of the partition tree.

    Raises:
        OperationFailed: it could not be built in the configured number of attempts.
    """
    built: dict[int, TableName] = {}
    for node in _tree(work.session.connection, work.table):
        built[node.oid] = _ensure_on(work, node)
        if node.parent_oid in built:
            _attach(work, parent=built[node.parent_oid], node=node, child=built[node.oid])
    failpoints.reach(failpoints.INDEX_BUILT)


def _ensure_on(work: Work, node: _Node) -> TableName:
    """Return the index of one table of the tree, built when it is missing or INVALID."""
    connection = work.session.connection
    found = _indexes(connection, work.table, node.oid)
    usable = [
        index for index in found if index.valid or not node.is_leaf
    ]  # a parent's is INVALID until all attach
    if usable:
        return usable[0].name
    name = _name_on(connection, work.table, node)
    statement = create_index_statement(work.table, node.name, name, partitioned=not node.is_leaf)
    made = created_objects.Object("index", node.name.schema, name, node.name, statement.as_string(connection))
    object_id = created_objects.register(connection, made, table_id=work.table_id, run_id=work.run.run_id)
    failpoints.reach(failpoints.INDEX_REGISTERED)
    if node.is_leaf:
        _build_concurrently(work, node, TableName(node.name.schema, name), statement)
        failpoints.reach(failpoints.INDEX_VALID)
        created_objects.mark_created(work.session.connection, object_id)
    else:

        def create(within: psycopg.Connection) -> None:
            within.execute(statement)
            created_objects.mark_created(within, object_id)

        work.ddl.run(str(made), create)
    work.tally.created.append(str(made))
    return TableName(node.name.schema, name)


def _build_concurrently(work: Work, node: _Node, name: TableName, statement: sql.Composed) -> None:
    """Build, look whether it is valid, and drop what is not, as often as allowed."""
    most = work.table.settings.retry_attempts
    for attempt in range(1, most + 1):
        try:
            with work.keep_alive.long_statement(f"the build of index {name.name}"):
                _drop_invalid(work, node, _LOCK_TIMEOUT_MS)
                if not _is_built(work, node, name):  # perhaps by an attempt whose answer was lost
                    with outside_transaction(work.session.connection, lock_timeout_ms=_LOCK_TIMEOUT_MS):
                        work.session.connection.execute(statement)
        except psycopg.Error as error:
            if reaction_to(error.sqlstate, work.session.lost) is not Reaction.RETRY or attempt == most:
                _clean_up(work, node)
                if attempt == most:
                    raise OperationFailed(
                        f"index {name}: gave up after {attempt} attempts ({message_of(error)}); old "
                        "transactions keep a concurrent build waiting. Run again when they have ended"
                    ) from error
                raise
            if work.session.lost:
                work.session.reconnect(most)
            work.clock.back_off(attempt, first_s=0.5, most_s=10.0)
            continue
        except BaseException:
            _clean_up(work, node)
            raise
        if _is_built(work, node, name):
            return
    raise OperationFailed(
        f"index {name} is INVALID after {most} attempts; look at the server's log, then run again"
    )


def _is_built(work: Work, node: _Node, name: TableName) -> bool:
    indexes = _indexes(work.session.connection, work.table, node.oid)
    return any(index.valid and index.name == name for index in indexes)


def _drop_invalid(work: Work, node: _Node, lock_timeout_ms: int) -> None:
    connection = work.session.connection
    for index in _invalid_of_ours(connection, work.table, node):
        statement = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(
            sql.Identifier(index.name.schema, index.name.name)
        )
        with outside_transaction(connection, lock_timeout_ms=lock_timeout_ms):
            connection.execute(statement)


def _clean_up(work: Work, node: _Node) -> None:
    """Take an INVALID index away at once when the server can still be asked; else the next run does."""
    if work.session.lost:
        return
    try:
        _drop_invalid(work, node, _CLEAN_UP_LOCK_TIMEOUT_MS)
    except psycopg.Error:
        work.tally.waiting.append(f"an INVALID index on {node.name} is dropped by the next run")


def _attach(work: Work, *, parent: TableName, node: _Node, child: TableName) -> None:
    """Attach a partition's index to its parent's; the last one makes the parent's valid."""
    statement = sql.SQL("ALTER INDEX {} ATTACH PARTITION {}").format(
        sql.Identifier(parent.schema, parent.name), sql.Identifier(child.schema, child.name)
    )

    def attach(within: psycopg.Connection) -> None:
        attached = {index.name for index in _indexes(within, work.table, node.oid) if index.attached}
        if child not in attached:
            within.execute(statement)

    work.ddl.run(f"index {child} to {parent}", attach)
