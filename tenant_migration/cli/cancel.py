"""`tenant-migration cancel`."""

from __future__ import annotations

import click

from tenant_migration.cli.failures import Failure
from tenant_migration.cli.target import Target, target_options
from tenant_migration.config import actor
from tenant_migration.workflow.cancel import cancel as cancel_runs


@click.command(
    epilog="""\b
Examples:
  tenant-migration cancel
  tenant-migration cancel --table claims --table documents
"""
)
@click.option(
    "--table",
    "tables",
    multiple=True,
    metavar="NAME",
    help="Only this table of the running runs; they go on with the others. Repeatable.",
)
@target_options
def cancel(*, target: Target, tables: tuple[str, ...]) -> None:
    """End running migrations, rollbacks and backups; each stops within one batch.

    What is done stays and is journaled: running again does what is left, `rollback` takes it back. What a
    process that no longer answers has under way is ended on the server. To stop everything and take it all
    back at once: `tenant-migration rollback --emergency`.
    """
    with target.connection() as connection:
        cancelled = cancel_runs(connection, actor=actor(), tables=tables or None)
    stopped = cancelled.stopped
    if not stopped.runs:
        click.echo("Nothing to cancel: no run is going" + (" with these tables." if tables else "."))
        return
    for run in stopped.runs:
        part = f" for {', '.join(cancelled.tables)}" if cancelled.tables else ""
        click.echo(f"Cancelled{part}: {run}")
    for line in (*stopped.cancelled, *stopped.terminated, *_taken(stopped.leases_taken)):
        click.echo(f"  {line}")
    for index in cancelled.indexes.dropped:
        click.echo(f"  dropped {index}")
    problems = [*stopped.problems, *cancelled.indexes.left]
    if problems:
        raise Failure(
            "cancelled, but not all of it has ended:\n" + "\n".join(f"  {line}" for line in problems)
        )
    click.echo(f"Stopped after {stopped.seconds:.1f} s. What is done stays; run again to go on.")


def _taken(holders: list[str]) -> list[str]:
    return [f"took the lease of {holder}, whose process did not give it back" for holder in holders]
