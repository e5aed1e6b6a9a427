"""The run that a Dagster run has open in the database, as a resource that closes it in the end.

A termination may reach Dagster between two ops, where no code of ours is. Dagster tears resources down in any
case, and all ops of a run share them, since runs are executed in one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import dagster as dg
import psycopg

from tenant_migration.backfill.runs import Run
from tenant_migration.errors import RunStopped, TenantMigrationError
from tenant_migration.orchestration.resources import Database

Abort = Callable[[psycopg.Connection, Run, BaseException], None]
"""Closes a run that could not go on, with the reason."""

_ENDED_EARLY = "the Dagster run ended before its work did; run it again, it does what is left"


class OpenRun:
    """Remembers the open run between the ops."""

    def __init__(self) -> None:
        self._opened: tuple[Run, Database, Abort] | None = None
        self._reason: BaseException | None = None

    def opened(self, run: Run, database: Database, abort: Abort) -> None:
        """A run was opened there; `abort` closes it when the ops do not."""
        self._opened = (run, database, abort)

    def closed(self) -> None:
        """The run was closed by the op whose task it is."""
        self._opened = None

    def stopped(self, reason: BaseException) -> None:
        """An op could not go on, and nothing else of the run may start.

        Behind a Failure stands what it was made from: by its kind the run ends as cancelled or as failed.
        """
        is_translated = isinstance(reason, dg.Failure) and reason.__cause__ is not None
        self._reason = reason.__cause__ if is_translated else reason

    @property
    def reason(self) -> str | None:
        """Why nothing may start any more; None: it may."""
        return None if self._reason is None else str(self._reason) or type(self._reason).__name__

    def close(self, context: dg.InitResourceContext) -> None:
        """Close the run if the ops left it open."""
        if self._opened is None:
            return
        run, database, abort = self._opened
        try:
            connection = database.connect(context.run.run_id if context.run else "")
            try:
                abort(connection, run, self._reason or RunStopped(_ENDED_EARLY))
            finally:
                connection.close()
        except TenantMigrationError as error:  # the run's own end must still be recorded
            if context.log is not None:
                context.log.error(f"run {run.run_id} stays open, the next one takes over: {error}")


@dg.resource(description="The run that this Dagster run has open in the database.")
def open_run_resource(context: dg.InitResourceContext) -> Iterator[OpenRun]:
    """Hand the open run to the ops; afterwards close what they left open."""
    open_run = OpenRun()
    try:
        yield open_run
    finally:
        open_run.close(context)
