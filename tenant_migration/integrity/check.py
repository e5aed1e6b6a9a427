"""What a check consists of.

Belongs here: the three kinds of checks (of a table, of a relation, of the database). The checks themselves
are in `checks/`; the list of them is `registry.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from psycopg import sql

from tenant_migration.integrity.model import Phase, SeverityLevel
from tenant_migration.integrity.scope import DatabaseScope, RelationScope, TableScope

Verdict = sql.Composed
"""A SELECT of one row, made by `verdict.verdict`: rows_checked, expected, count, examples, details."""

ScopeT = TypeVar("ScopeT", TableScope, RelationScope, DatabaseScope)


@dataclass(frozen=True)
class Source(Generic[ScopeT]):
    """What several checks read together: common table expressions, computed once for all of them."""

    name: str
    build: Callable[[ScopeT], sql.Composed]
    """The list of common table expressions, without WITH."""


@dataclass(frozen=True)
class Remark:
    """What the details of a failed check add for a person."""

    description: str
    """Follows the check's own after a semicolon."""
    recommendation: str | None = None
    """Follows the check's own."""


@dataclass(frozen=True, kw_only=True)
class BaseCheck(Generic[ScopeT]):
    """What all kinds have."""

    name: str
    phase: Phase
    severity: SeverityLevel
    """Unless the configuration or the table's settings say otherwise."""
    description: str
    """What is wrong when it fails."""
    recommendation: str
    build: Callable[[ScopeT], Verdict]
    """The one SQL builder."""
    source: Source[ScopeT] | None = None
    """What `build` reads from; checks of one source run as one statement."""
    examples_are_names: bool = False
    """Its examples are tenants, organizations or objects of the schema, and not keys of rows: what is stored
    for operators and readers, who need not be able to read the table, names them."""
    wrong_rows: Callable[[ScopeT], sql.Composed] | None = None
    """SELECT of what is wrong, to give to a person; None: the verdict itself is all there is to ask."""
    not_applicable: Callable[[ScopeT], str | None] = lambda scope: None
    """Why there is nothing to ask in this scope, or None."""
    severity_in: Callable[[ScopeT], SeverityLevel] | None = None
    """Severity where it depends on the scope."""
    remark: Callable[[dict[str, Any]], Remark | None] = lambda details: None
    """What the details of a failed one are worth saying."""


@dataclass(frozen=True, kw_only=True)
class TableCheck(BaseCheck[TableScope]):
    """Asked of each table."""

    scope: Literal["table"] = "table"
    column: Callable[[TableScope], str | None] = lambda scope: None
    """The column to name in the report."""


@dataclass(frozen=True, kw_only=True)
class RelationCheck(BaseCheck[RelationScope]):
    """Asked of each relation, reported on the table that refers."""

    scope: Literal["table"] = "table"


@dataclass(frozen=True, kw_only=True)
class DatabaseCheck(BaseCheck[DatabaseScope]):
    """Asked once."""

    scope: Literal["database"] = "database"
    about: Callable[[DatabaseScope], str]
    """The table to name in the report."""
    counts_over_tables: bool = False
    """Whether it counts over the tables in scope, so that it is asked too when only these are asked about."""


Check = TableCheck | RelationCheck | DatabaseCheck
