"""What we know of a database, as values: read once by `catalog.reader`, never changed.

Belongs here: facts of PostgreSQL's catalog. Judgements (strategy, hazards, order) belong to `planning`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, order=True)
class TableName:
    """Schema and name exactly as in the catalog; `str()` gives the form that people type: `schema.name`."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    `type_schema` and `type_name` name the type in `pg_type` (`pg_catalog.bpchar`, not `character(8)`), so
    that a cast to it neither truncates nor depends on the search path; `type_sql` is `format_type`'s text.
    `base_type` is the type itself or, of a domain, the type under it, as `schema.name`.
    """

    name: str
    number: int
    type_schema: str
    type_name: str
    type_sql: str
    base_type: str
    not_null: bool
    generated: bool
    identity: Literal["", "always", "by default"]
    has_default: bool
    hashable: bool
    """Whether the type has a hash operator class, so that `hash_record_extended` can take it."""
    is_array: bool = False
    """Whether a value is an array, also through domains."""
    comparable: bool = True
    """Whether the type has a default order, hence an `=`: json, xml and point have none."""
    equality_schema: str = "pg_catalog"
    """Where the type's own `=` is; an extension's type (citext) brings its own."""
    default_sql: str | None = None
    """The default's, or the generated column's, expression."""
    generated_from: tuple[str, ...] = ()
    """Columns that a generated column is computed from."""
    inherited: bool = False
    """Whether it came from a table that this one inherits from."""


@dataclass(frozen=True)
class Index:
    """An index, also of a constraint."""

    name: str
    columns: tuple[str, ...]
    """Key columns in order; an expression is an empty string."""
    mentions: tuple[str, ...]
    """Every column in key, INCLUDE, expressions or predicate: one of them changed means no HOT update."""
    unique: bool
    primary: bool
    valid: bool
    partial: bool
    method: str
    summarizing: bool
    """BRIN from PostgreSQL 16 on: does not prevent HOT updates."""
    definition: str
    immediate: bool = True
    """Whether uniqueness is checked at once, not at the end of the statement or transaction."""


@dataclass(frozen=True)
class ForeignKey:
    """A declared foreign key between two tables."""

    name: str
    child: TableName
    child_columns: tuple[str, ...]
    parent: TableName
    parent_columns: tuple[str, ...]
    validated: bool
    deferrable: bool
    on_update: str
    on_delete: str
    whole: bool = True
    """False when only a partition carries it or is referred to, or when it compares periods: it orders
    tables, but its columns alone do not say which rows are orphans."""


@dataclass(frozen=True)
class Constraint:
    """A constraint that is no foreign key."""

    name: str
    kind: Literal["check", "unique", "primary key", "exclusion", "not null"]
    columns: tuple[str, ...]
    deferrable: bool
    validated: bool
    definition: str
    on_leaf: TableName | None = None
    """The partition that has it alone; None: the table."""


@dataclass(frozen=True)
class Publication:
    """A publication that carries a table's updates."""

    name: str
    has_column_list: bool
    """A column that is added later is not replicated."""
    refuses_updates: str | None
    """Why PostgreSQL refuses every UPDATE of the table, as a sentence."""


@dataclass(frozen=True)
class Rule:
    """A rewrite rule ON UPDATE."""

    name: str
    definition: str


@dataclass(frozen=True)
class Trigger:
    """A trigger of the application (internal ones are left out)."""

    name: str
    timing: Literal["before", "after", "instead of"]
    level: Literal["row", "statement"]
    events: tuple[str, ...]
    update_columns: tuple[str, ...]
    """Columns of `UPDATE OF`; empty: every update."""
    enabled: Literal["origin", "disabled", "replica", "always"]
    function: str
    function_source: str
    has_when: bool
    definition: str
    language: str = "plpgsql"
    deferrable: bool = False
    """A constraint trigger that may run at commit."""
    on_partitioned: bool = False
    """Declared on a partitioned table, not on a leaf."""


@dataclass(frozen=True)
class Policy:
    """A row-security policy."""

    name: str
    command: str
    permissive: bool
    roles: tuple[str, ...]
    using: str | None
    check: str | None


@dataclass(frozen=True)
class Leaf:
    """A table that holds rows itself: the table, or one partition at the lowest level."""

    oid: int
    name: TableName
    relfilenode: int
    pages: int
    """From the file's size, not from statistics."""
    foreign: bool = False
    """On another server."""
    has_replica_identity: bool = True
    """Whether a published UPDATE of it is possible."""
    indexes: tuple[Index, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table as people see it: ordinary, or the root of partitions."""

    oid: int
    name: TableName
    kind: Literal["ordinary", "partitioned", "foreign", "inheritance child"]
    persistence: Literal["permanent", "unlogged"]
    owner: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    """Column names; empty without a primary key."""
    row_identity: tuple[str, ...]
    """The primary key, else the columns of a unique, complete, NOT NULL, immediate index, else empty."""
    indexes: tuple[Index, ...]
    triggers: tuple[Trigger, ...]
    policies: tuple[Policy, ...]
    row_security: bool
    row_security_forced: bool
    row_security_active: bool
    """`row_security_active(oid)` for the connected role: it would see a part of the rows, silently."""
    replica_identity: Literal["default", "nothing", "full", "index"]
    publications: tuple[str, ...]
    """Publications that carry updates of this table."""
    estimated_rows: int
    """From statistics, summed over partitions; -1 when never analysed."""
    total_bytes: int
    leaves: tuple[Leaf, ...]
    """The table itself, or every leaf partition in order of oid; foreign partitions included."""
    has_foreign_leaf: bool
    can_write: bool
    """Whether the connected role may UPDATE the table."""
    is_owner: bool
    """Whether the connected role is the owner or an inheriting member of it: DDL is possible."""
    constraints: tuple[Constraint, ...] = ()
    update_rules: tuple[Rule, ...] = ()
    column_list_publications: tuple[str, ...] = ()
    """Those of `publications` that name columns: a column added later is not replicated."""
    refusing_publications: tuple[tuple[str, str], ...] = ()
    """Those of `publications` for which PostgreSQL refuses every UPDATE, and why."""
    can_read: bool = True
    can_reference: bool = True
    """Whether the connected role may declare a foreign key to the table."""
    can_create_in_schema: bool = True
    """Whether the connected role may build an index beside the table."""
    partition_key: tuple[str, ...] = ()
    """Columns that decide a row's partition, on every level; empty where there are no partitions."""
    has_inheritance_children: bool = False
    """Other tables inherit from it (not partitions)."""

    def column(self, name: str) -> Column | None:
        """Return the column of this name, or None."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True)
class Dependent:
    """Something that names the key and is listed, not touched: view, materialised view, function, policy."""

    kind: Literal["view", "materialized view", "function", "policy"]
    name: str
    tables: tuple[str, ...]


@dataclass(frozen=True)
class Server:
    """The server and the role we are connected as."""

    version: int
    """As `server_version_num`, for example 160004."""
    database: str
    host: str
    role: str
    is_superuser: bool
    bypasses_row_security: bool
    in_recovery: bool
    block_size: int
    event_triggers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Catalog:
    """A read-only picture of the database at one moment."""

    server: Server
    tables: tuple[Table, ...]
    foreign_keys: tuple[ForeignKey, ...]
    dependents: tuple[Dependent, ...] = field(default=())
    functions_that_cannot_write: frozenset[str] = frozenset()
    """Of the functions that triggers call, by bare name: those of which every one is STABLE or IMMUTABLE."""

    def table(self, name: TableName) -> Table | None:
        """Return the table of this name, or None."""
        return next((table for table in self.tables if table.name == name), None)
