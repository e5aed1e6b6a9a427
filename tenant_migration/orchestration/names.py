"""The names that a table has in Dagster: asset key, op, group; owners and kinds of all of them."""

from __future__ import annotations

import hashlib
import re

import dagster as dg

from tenant_migration.planning.model import Plan, TablePlan

MAPPINGS_TABLE = "tenant_org_mappings"
OWNERS = ["team:tenant-migration"]
POOL = "migration"
"""Pool of the ops that write: its limit is how many runs migrate at a time, and 0 pauses the queue."""
KINDS = {"postgresql", "table"}

_UNAMBIGUOUS = re.compile(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*")


def table_key(table: TablePlan) -> dg.AssetKey:
    """Return the asset of a table: schema and name, exactly as in the catalog."""
    return dg.AssetKey([table.schema_name, table.table_name])


def qualified_key(qualified_name: str, plan: Plan) -> dg.AssetKey:
    """Return the asset of a managed table named `schema.table`."""
    table = next(table for table in plan.tables if table.qualified_name == qualified_name)
    return table_key(table)


def organizations_key(plan: Plan) -> dg.AssetKey:
    """Return the asset of the organizations."""
    return dg.AssetKey([plan.organizations.schema_name, plan.organizations.table_name])


def mappings_key(plan: Plan) -> dg.AssetKey:
    """Return the asset of the mappings."""
    return dg.AssetKey([plan.interface_schema, MAPPINGS_TABLE])


def op_name(table: TablePlan) -> str:
    """Return the name of a table's op: `schema__table`, with a hash where that is no name or not unique.

    Dagster allows letters, digits and `_` only.
    """
    plain = f"{table.schema_name}__{table.table_name}"
    if _UNAMBIGUOUS.fullmatch(table.schema_name) and _UNAMBIGUOUS.fullmatch(table.table_name):
        return plain
    return f"{re.sub('[^A-Za-z0-9_]', '_', plain)}_{_hash(table.qualified_name)}"


def group_name(table: TablePlan) -> str:
    """Return the group of a table: its schema, in the letters that Dagster allows."""
    if re.fullmatch("[A-Za-z0-9_]+", table.schema_name):
        return table.schema_name
    return f"{re.sub('[^A-Za-z0-9_]', '_', table.schema_name)}_{_hash(table.schema_name)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
