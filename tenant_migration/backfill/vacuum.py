"""Lets the pass reuse the space it frees: a VACUUM after each fifth of a large leaf.

Where no update can be HOT, every row leaves a dead version behind, and the heap doubles. A vacuum between
stretches keeps it at +30 % instead of +105 % for 1.02 times the WAL (200,000 rows of 180 bytes).
It blocks neither reads nor writes and is left out where another one is running.
"""

from __future__ import annotations

import logging

import psycopg
from psycopg import sql

from tenant_migration.backfill.leaves import Leaf
from tenant_migration.backfill.work import Work
from tenant_migration.database.connection import LOCK_TIMEOUT_MS, outside_transaction

STRETCHES = 5
"""Parts of a leaf between which it is vacuumed."""
_PAGES_LEAST = 1_000
"""8 MB. A smaller leaf is not worth the scans of its indexes."""

_log = logging.getLogger(__name__)

_MAY_VACUUM = "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = %s::oid"


class Vacuum:
    """Vacuums one leaf between the stretches of its pass."""

    def __init__(self, work: Work, leaf: Leaf) -> None:
        self._work = work
        self._leaf = leaf
        self._next_page = leaf.pages // STRETCHES
        self._possible = leaf.pages >= _PAGES_LEAST and self._may_vacuum()

    def after(self, page: int) -> None:
        """Vacuum when the pass has come to the end of a stretch with this page."""
        if not self._possible or page < self._next_page:
            return
        self._next_page = page + self._leaf.pages // STRETCHES
        statement = sql.SQL("VACUUM (TRUNCATE off, PROCESS_TOAST off, SKIP_LOCKED) {}").format(
            sql.Identifier(self._leaf.name.schema, self._leaf.name.name)
        )
        work = self._work
        try:
            with (
                work.keep_alive.long_statement("a vacuum"),
                outside_transaction(work.session.connection, lock_timeout_ms=LOCK_TIMEOUT_MS),
            ):
                work.session.connection.execute(statement)
        except psycopg.Error as error:
            # It only saves space: the pass goes on without; a lost connection shows at the next batch.
            _log.warning("%s: not vacuumed between stretches: %s", self._leaf.name, error)

    def _may_vacuum(self) -> bool:
        row = self._work.retry.run(
            f"owner of {self._leaf.name}",
            lambda connection: connection.execute(_MAY_VACUUM, (self._leaf.oid,)).fetchone(),
        )
        return bool(row and row[0])
