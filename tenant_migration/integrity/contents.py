"""Reads how the runs wrote a table: which fingerprints there are to compare rows with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import psycopg

from tenant_migration.catalog.row_hash import FORMULA, read_hash_parts
from tenant_migration.integrity.scope import ContentForm
from tenant_migration.planning.model import TablePlan

_RUNS = """
SELECT w.number, r.fingerprint_columns::text[], r.fingerprint_formula, bool_and(r.overwrites IS FALSE),
       array_agg(r.run_id ORDER BY r.run_id DESC)
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS w(table_schema, table_name, number)
JOIN tenant_migration.managed_tables AS m
  ON m.table_schema = w.table_schema AND m.table_name = w.table_name
JOIN tenant_migration.table_runs AS r ON r.table_id = m.table_id
GROUP BY w.number, r.fingerprint_columns, r.fingerprint_formula, r.overwrites
ORDER BY w.number, max(r.run_id) DESC
"""

_OFF = "the journal has no fingerprints: `fingerprints: journal` was not set when these rows were migrated"
_GONE = "the columns that were fingerprinted are not there any more, or were hashed by another release"


@dataclass(frozen=True)
class Contents:
    """What is known of a table's runs."""

    forms: tuple[ContentForm, ...]
    missing: str
    runs_that_only_fill: tuple[int, ...]


NO_CONTENTS = Contents((), _OFF, ())


def read_contents(
    connection: psycopg.Connection[tuple[Any, ...]], tables: Sequence[TablePlan]
) -> dict[str, Contents]:
    """Return it by `schema.table`; a table without runs is in none."""
    rows = connection.execute(
        _RUNS, ([table.schema_name for table in tables], [table.table_name for table in tables])
    ).fetchall()
    found = {}
    for number, of_table in groupby(rows, itemgetter(0)):
        table = tables[number - 1]
        forms: list[ContentForm] = []
        only_fill: list[int] = []
        missing = _OFF
        for _, columns, formula, fills, run_ids in of_table:
            if fills:
                only_fill += run_ids
            if not columns:
                continue
            parts = None
            if formula == FORMULA:
                parts = read_hash_parts(connection, table.schema_name, table.table_name, columns)
            if parts is None:
                missing = _GONE
            else:
                forms.append(ContentForm(tuple(run_ids), parts))
        found[table.qualified_name] = Contents(tuple(forms), missing, tuple(only_fill))
    return found
