"""Where the bulk pass over a leaf stands: kept in the database, moved by each batch's own statement."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from tenant_migration.backfill.leaves import Leaf
from tenant_migration.database.connection import transaction


@dataclass(frozen=True)
class Cursor:
    """The pass over one leaf. Pages before `next_page` are done."""

    next_page: int
    end_page: int
    """Fixed when the pass started: rows that come later are the sweep's."""
    finished: bool
    filenode: int
    """Of the file that the page numbers belong to."""


_READ = """
SELECT next_page, end_page, finished, relfilenode::int8 FROM tenant_migration.cursors
WHERE table_id = %s AND leaf = %s::oid AND relfilenode = %s::oid AND mapping_checksum = %s"""

_RESTART = """
INSERT INTO tenant_migration.cursors
    (table_id, leaf, leaf_name, relfilenode, mapping_checksum, next_page, end_page, finished, run_id)
VALUES (%(table_id)s, %(leaf)s, %(leaf_name)s, %(filenode)s, %(checksum)s, 0, %(end_page)s, %(finished)s,
        %(run_id)s)
ON CONFLICT (table_id, leaf) DO UPDATE
SET leaf_name = excluded.leaf_name, relfilenode = excluded.relfilenode,
    mapping_checksum = excluded.mapping_checksum, next_page = 0, window_end_page = NULL, wave = 0,
    end_page = excluded.end_page, finished = excluded.finished, run_id = excluded.run_id,
    updated_at = clock_timestamp()"""


def read_cursor(
    connection: psycopg.Connection, table_id: int, leaf: Leaf, mapping_checksum: str
) -> Cursor | None:
    """Return where an earlier pass over this leaf stands; None when there is none that can be continued.

    None: never started, the file was rewritten, or the mapping is another one.
    """
    row = connection.execute(_READ, (table_id, leaf.oid, leaf.filenode, mapping_checksum)).fetchone()
    return None if row is None else Cursor(*row)


def restart_cursor(
    connection: psycopg.Connection, table_id: int, leaf: Leaf, mapping_checksum: str, run_id: int
) -> Cursor:
    """Begin a pass over the leaf from its first page to its last of this moment."""
    with transaction(connection, lock_timeout_ms=5_000):
        connection.execute(
            _RESTART,
            {
                "table_id": table_id,
                "leaf": leaf.oid,
                "leaf_name": str(leaf.name),
                "filenode": leaf.filenode,
                "checksum": mapping_checksum,
                "end_page": leaf.pages,
                "finished": leaf.pages == 0,
                "run_id": run_id,
            },
        )
    return Cursor(0, leaf.pages, leaf.pages == 0, leaf.filenode)
