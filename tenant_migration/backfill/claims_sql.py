"""SQL of claims: what records that the application wrote the organization of a row itself.

`claims_<table_id>` has one row for each claimed key, with the number of the newest batch at that moment
(`after_batch`). The application and a batch that write the same row come one after the other, by the row's
lock, and a batch takes its number while it holds that lock. So an entry of the journal is claimed exactly
when `after_batch >= batch_id`, without any clock.

A table without a key cannot name the row: there `claims_<table_id>` has the organizations that the
application wrote anywhere in the table.
"""

from __future__ import annotations

from psycopg import sql


def claims_relation(table_id: int) -> str:
    """Return the bare name of the table's claims in schema `tenant_migration`."""
    return f"claims_{table_id}"


def claims_name(table_id: int) -> sql.Identifier:
    """Return the quoted name of the table's claims."""
    return sql.Identifier("tenant_migration", claims_relation(table_id))
