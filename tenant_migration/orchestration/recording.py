"""Writes events to Dagster's storage beside the ops: one table is recorded while the next is migrated.

A run over 5,000 tenants writes 80,000 events. The migration waits for its own server meanwhile, and so would
the storage's for us: one after the other they take twice as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import dagster as dg

from tenant_migration.errors import OperationFailed


class Recording:
    """Executes what is submitted, in its order, in one thread."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="recording")
        self._pending: list[tuple[str, Future[None]]] = []

    def submit(self, about: str, record: Callable[[], None]) -> None:
        """Record something soon.

        Args:
            about: whose events they are, for the message.
            record: writes them.

        Raises:
            OperationFailed: something submitted earlier could not be recorded; this is still going to be.
        """
        earlier = list(self._pending)
        self._pending.append((about, self._executor.submit(record)))
        self._raise_of([entry for entry in earlier if entry[1].done()])

    def wait(self) -> None:
        """Return when everything is recorded.

        Raises:
            OperationFailed: something could not be; what was migrated stays, and the sensor
                `tenant_partitions` reports it as soon as Dagster's storage can be written.
        """
        self._raise_of(list(self._pending))

    def _raise_of(self, entries: list[tuple[str, Future[None]]]) -> None:
        for entry in entries:
            about, future = entry
            self._pending.remove(entry)
            try:
                future.result()
            except Exception as error:
                raise OperationFailed(
                    f"{about} is done, but could not be recorded in Dagster: {error}. The database is right "
                    "(`tenant-migration status`), and the partitions' sensor reports it to Dagster later"
                ) from error

    def close(self) -> list[str]:
        """Record what is left, whatever happened to the run; return what could not be."""
        self._executor.shutdown(wait=True)
        failures = [(about, future.exception()) for about, future in self._pending]
        return [f"{about}: {error}" for about, error in failures if error is not None]


@dg.resource(description="Writes the events of a run over all tenants beside its ops.")
def recording_resource(context: dg.InitResourceContext) -> Iterator[Recording]:
    """Hand it to the ops; afterwards record what they left."""
    recording = Recording()
    try:
        yield recording
    finally:
        for failure in recording.close():
            if context.log is not None:
                context.log.error(f"not recorded in Dagster: {failure}")
