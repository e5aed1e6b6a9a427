"""`tenant-migration resume`."""

from __future__ import annotations

import click

from tenant_migration.cli.failures import Failure
from tenant_migration.cli.output import glyphs
from tenant_migration.cli.target import Target, target_options
from tenant_migration.config import actor
from tenant_migration.workflow.resume import resume as release


@click.command(
    epilog="""\b
Examples:
  tenant-migration resume
"""
)
@target_options
def resume(*, target: Target) -> None:
    """Release the emergency switch, so that migrations may start again.

    `tenant-migration rollback --emergency` sets it. Nothing starts by itself: what was stopped is run again
    by hand.
    """
    with target.connection() as connection:
        resumed = release(connection, actor=actor())
    if not resumed.switch.is_set:
        click.echo("Nothing to resume: the emergency switch is not set.")
        return
    click.echo(f"The emergency switch is released; it was set {resumed.switch}.")
    if resumed.switch.unstopped is not None:
        click.echo(
            f"{glyphs().warning}At the emergency, {resumed.switch.unstopped}. What is queued there may start "
            "now: look at its runs."
        )
    for run in resumed.ended.runs:
        click.echo(f"Ended: {run}, which was going when it was set.")
    if resumed.ended.problems:
        raise Failure(
            "released, but runs from before have not ended:\n"
            + "\n".join(f"  {line}" for line in resumed.ended.problems)
        )
    click.echo("Migrations may start again.")
