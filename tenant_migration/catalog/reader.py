"""Reads the whole picture in one snapshot.

Cost follows the number of subjects, not of tables: one query each for relations, types, columns, indexes,
foreign keys, constraints, triggers, rules, policies, publications and dependents.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Literal, TypeVar

import psycopg

from tenant_migration.catalog.columns import read_columns
from tenant_migration.catalog.constraints import read_constraints
from tenant_migration.catalog.dependents import read_dependents
from tenant_migration.catalog.foreign_keys import read_foreign_keys
from tenant_migration.catalog.functions import called, read_functions_that_cannot_write
from tenant_migration.catalog.indexes import read_indexes, row_identity
from tenant_migration.catalog.model import Catalog, Column, Index, Leaf, Publication, Table, TableName
from tenant_migration.catalog.policies import read_policies
from tenant_migration.catalog.publications import read_publications
from tenant_migration.catalog.relations import Relation, estimated_rows, read_relations
from tenant_migration.catalog.server import read_server
from tenant_migration.catalog.snapshot import snapshot
from tenant_migration.catalog.triggers import read_triggers, read_update_rules
from tenant_migration.config import MigrationConfig
from tenant_migration.errors import UnsupportedServer

OLDEST_SUPPORTED_VERSION = 150000

_Kind = Literal["ordinary", "partitioned", "foreign", "inheritance child"]
_REPLICA_IDENTITY: dict[str, Literal["default", "nothing", "full", "index"]] = {
    "d": "default",
    "n": "nothing",
    "f": "full",
    "i": "index",
}
_Fact = TypeVar("_Fact")


def read_catalog(
    connection: psycopg.Connection[Any], config: MigrationConfig, *, only: Collection[TableName] | None = None
) -> Catalog:
    """Read the database's tables and what belongs to them.

    Left out: PostgreSQL's own schemas, temporary tables, the private schema, and our two interface tables.
    Partitions are leaves of their root and no tables of their own.

    Args:
        connection: in autocommit mode; one read-only transaction is opened and closed.
        config: names the key columns and the interface schema.
        only: read these tables alone, without dependents; None: all.

    Raises:
        UnsupportedServer: older than PostgreSQL 15.
    """
    with snapshot(connection):
        server = read_server(connection)
        if server.version < OLDEST_SUPPORTED_VERSION:
            raise UnsupportedServer(
                f"the server of database {server.database} is PostgreSQL {server.version // 10000}; "
                f"at least {OLDEST_SUPPORTED_VERSION // 10000} is needed: upgrade the server first"
            )
        relations = read_relations(connection, interface_schema=config.interface_schema, only=only)
        roots = [relation.oid for relation in relations]
        members = sorted({oid for relation in relations for oid in relation.member_oids})
        columns = read_columns(connection, roots)
        indexes = read_indexes(connection, members, server.version)
        constraints = read_constraints(connection, members)
        triggers = read_triggers(connection, members)
        rules = read_update_rules(connection, members)
        policies = read_policies(connection, members)
        publications = read_publications(connection, roots)
        foreign_keys = read_foreign_keys(connection, roots)
        dependents = (
            read_dependents(
                connection, key_columns=_key_names(config), interface_schema=config.interface_schema
            )
            if only is None
            else ()
        )
        functions_that_cannot_write = read_functions_that_cannot_write(
            connection,
            {name for of_table in triggers.values() for trigger in of_table for name in called(trigger)},
        )
    tables = tuple(
        _table(
            relation,
            block_size=server.block_size,
            columns=columns.get(relation.oid, []),
            indexes=indexes,
            constraints=_of_members(relation, constraints),
            triggers=_of_members(relation, triggers),
            update_rules=_of_members(relation, rules),
            policies=_of_members(relation, policies),
            publications=publications.get(relation.oid, []),
        )
        for relation in relations
    )
    return Catalog(
        server=server,
        tables=tuple(sorted(tables, key=lambda table: table.name)),
        foreign_keys=foreign_keys,
        dependents=dependents,
        functions_that_cannot_write=functions_that_cannot_write,
    )


def _key_names(config: MigrationConfig) -> list[str]:
    own = {table.tenant_id_column for table in config.tables.values() if table.tenant_id_column}
    return sorted({*config.tenant_key_columns, *own})


def _of_members(relation: Relation, facts: dict[int, list[_Fact]]) -> tuple[_Fact, ...]:
    """Return the facts of a root and of its partitions, each once."""
    return tuple(_unique(fact for oid in sorted(relation.member_oids) for fact in facts.get(oid, ())))


def _unique(facts: Iterable[_Fact]) -> list[_Fact]:
    seen: list[_Fact] = []
    for fact in facts:
        if fact not in seen:
            seen.append(fact)
    return seen


def _table(
    relation: Relation,
    *,
    block_size: int,
    columns: list[Column],
    indexes: dict[int, list[Index]],
    publications: list[Publication],
    **facts: Any,
) -> Table:
    row, leaf_rows = relation.row, relation.leaf_rows
    own_indexes = indexes.get(relation.oid, [])
    leaves = tuple(
        Leaf(
            oid=leaf["oid"],
            name=TableName(leaf["schema"], leaf["name"]),
            relfilenode=leaf["relfilenode"],
            pages=leaf["heap_bytes"] // block_size,
            foreign=leaf["kind"] == "f",
            has_replica_identity=leaf["has_replica_identity"],
            indexes=tuple(indexes.get(leaf["oid"], ())),
        )
        for leaf in leaf_rows
    )
    return Table(
        oid=relation.oid,
        name=TableName(row["schema"], row["name"]),
        kind=_kind(row),
        persistence="unlogged"
        if any(part["persistence"] == "u" for part in (row, *leaf_rows))
        else "permanent",
        owner=row["owner"],
        columns=tuple(columns),
        primary_key=next((index.columns for index in own_indexes if index.primary), ()),
        row_identity=row_identity(own_indexes, columns),
        indexes=tuple(own_indexes),
        row_security=row["row_security"],
        row_security_forced=row["row_security_forced"],
        # a leaf is read and written by its own name, so its own policies count
        row_security_active=any(part["row_security_active"] for part in (row, *leaf_rows)),
        replica_identity=_REPLICA_IDENTITY[row["replica_identity"]],
        publications=tuple(sorted({one.name for one in publications})),
        column_list_publications=tuple(sorted({one.name for one in publications if one.has_column_list})),
        refusing_publications=tuple(
            sorted((one.name, one.refuses_updates) for one in publications if one.refuses_updates)
        ),
        estimated_rows=estimated_rows(leaf_rows),
        total_bytes=sum(leaf["total_bytes"] for leaf in leaf_rows),
        leaves=leaves,
        has_foreign_leaf=row["kind"] == "p" and any(leaf.foreign for leaf in leaves),
        can_read=all(part["can_read"] for part in (row, *leaf_rows)),
        can_write=all(part["can_write"] for part in (row, *leaf_rows)),
        is_owner=all(part["is_owner"] for part in (row, *leaf_rows)),
        can_reference=row["can_reference"],
        can_create_in_schema=all(part["can_create_in_schema"] for part in (row, *leaf_rows)),
        partition_key=relation.partition_key,
        has_inheritance_children=row["is_inherited"],
        **facts,
    )


def _kind(row: dict[str, Any]) -> _Kind:
    if row["inherits"]:
        return "inheritance child"
    kinds: dict[str, _Kind] = {"r": "ordinary", "p": "partitioned", "f": "foreign"}
    return kinds[row["kind"]]
