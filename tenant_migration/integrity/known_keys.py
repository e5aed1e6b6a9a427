"""Has the server compute the mapping's keys once for each type of tenant key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import psycopg

from tenant_migration.integrity.facts import Connection
from tenant_migration.integrity.savepoint import savepoint
from tenant_migration.integrity.sources.known_keys import remember_keys
from tenant_migration.planning.model import Plan, TablePlan


def read_known_keys(connection: Connection, plan: Plan, tables: Iterable[TablePlan]) -> Mapping[str, int]:
    """Return, for each type of these tables' keys, the number under which the transaction knows its keys.

    A type whose keys cannot be computed is left out: the checks that need them compute them themselves, fail
    in the same way, and say so, while the checks of other tables go on.
    """
    one_of_each_type = {table.tenant_column.quoted_type: table for table in tables}
    known: dict[str, int] = {}
    for number, (quoted_type, table) in enumerate(sorted(one_of_each_type.items()), start=1):
        try:
            with savepoint(connection):
                connection.execute(remember_keys(table, plan.interface_schema, number))
        except psycopg.Error:
            continue
        known[quoted_type] = number
    return known
