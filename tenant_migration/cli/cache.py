"""`tenant-migration cache`."""

from __future__ import annotations

import click

from tenant_migration.cli.target import Target, target_options
from tenant_migration.config import actor
from tenant_migration.database import audit
from tenant_migration.database.attempts import attempt
from tenant_migration.database.connection import transaction
from tenant_migration.database.install import require_installed
from tenant_migration.mapping.repository import raise_generation


@click.command(
    epilog="""\b
Examples:
  tenant-migration cache --refresh
  tenant-migration cache --clear
"""
)
@click.option("--refresh", is_flag=True, help="Every mapper reads its mappings anew.")
@click.option(
    "--clear", is_flag=True, help="Every mapper forgets its mappings; the same to a running process."
)
@target_options
def cache(*, target: Target, refresh: bool, clear: bool) -> None:
    """Make every mapper, in any process, forget what it cached; it takes a second.

    Both raise the mapping's generation in the database, which each mapper looks at once a second. A change of
    a mapping does so by itself: this is for doubt.
    """
    if refresh == clear:
        raise click.UsageError("give --refresh or --clear")
    asked = {"option": "refresh" if refresh else "clear"}
    with target.connection() as connection, attempt(connection, "cache", actor=actor(), detail=asked):
        require_installed(connection)
        with transaction(connection):
            generation = raise_generation(connection)
            audit.record(
                connection,
                operation="cache",
                actor=actor(),
                outcome="completed",
                detail={"mapping_generation": generation, **asked},
            )
    what = "refreshed" if refresh else "cleared"
    click.echo(f"Cache {what}: every mapper sees generation {generation} within a second.")
