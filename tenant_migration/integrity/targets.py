"""Which checks are asked of what: the registry, spread over tables and relations."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from tenant_migration.errors import UnknownTable
from tenant_migration.integrity.check import Check, DatabaseCheck, RelationCheck, TableCheck
from tenant_migration.integrity.model import Phase
from tenant_migration.integrity.registry import CHECKS
from tenant_migration.planning.model import Plan, Relation, TablePlan


@dataclass(frozen=True)
class TableTarget:
    """A check of one table."""

    check: TableCheck
    table: TablePlan


@dataclass(frozen=True)
class RelationTarget:
    """A check of one relation of a table; without a relation there is nothing to ask, and that is said."""

    check: RelationCheck
    table: TablePlan
    relation: Relation | None


@dataclass(frozen=True)
class DatabaseTarget:
    """A check of the whole database."""

    check: DatabaseCheck
    tables: tuple[TablePlan, ...]


Target = TableTarget | RelationTarget | DatabaseTarget


def chosen_tables(plan: Plan, names: Sequence[str] | None) -> tuple[TablePlan, ...]:
    """Return the tables of these names in the plan's order; None: all.

    Raises:
        UnknownTable: naming the nearest.
    """
    if names is None:
        return plan.tables
    chosen = set()
    for name in names:
        table = plan.table(name)
        if table is None:
            known = [table.qualified_name for table in plan.tables]
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            raise UnknownTable(f"no managed table {name}{hint}")
        chosen.add(table.qualified_name)
    return tuple(table for table in plan.tables if table.qualified_name in chosen)


def targets(
    plan: Plan, phase: Phase, tables: Sequence[str] | None, only: Sequence[str] | None
) -> list[Target]:
    """Return what is to be asked, checks of the database first, then table by table.

    Args:
        plan: tables and relations.
        phase: before or after.
        tables: None: everything. Empty: only what is asked of the database as a whole. Else only what is
            asked of these tables, and what is counted over them.
        only: names of checks; None: all.
    """
    chosen = chosen_tables(plan, tables)
    checks = [check for check in CHECKS if check.phase == phase and (only is None or check.name in only)]
    found: list[Target] = [
        DatabaseTarget(check, chosen or plan.tables)
        for check in checks
        if isinstance(check, DatabaseCheck) and (not tables or check.counts_over_tables)
    ]
    relations: dict[str, list[Relation]] = {}
    for relation in plan.relations:
        relations.setdefault(relation.child, []).append(relation)
    for table in chosen:
        for check in checks:
            found += _of_table(check, table, relations.get(table.qualified_name, []))
    return found


def _of_table(check: Check, table: TablePlan, relations: list[Relation]) -> list[Target]:
    if isinstance(check, TableCheck):
        return [TableTarget(check, table)]
    if isinstance(check, RelationCheck):
        if not relations:
            return [RelationTarget(check, table, None)]
        return [RelationTarget(check, table, relation) for relation in relations]
    return []
