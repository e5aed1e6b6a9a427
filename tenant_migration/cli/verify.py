"""`tenant-migration verify`."""

from __future__ import annotations

from pathlib import Path

import click

from tenant_migration.cli.checking import export_option, run_and_print
from tenant_migration.cli.target import Target, target_options


@click.command(
    epilog="""\b
Examples:
  tenant-migration verify
  tenant-migration verify --post --export post-migration-report.json
  tenant-migration verify --pre
"""
)
@click.option("--pre", is_flag=True, help="The checks before a migration, as `validate` runs them.")
@click.option("--post", is_flag=True, help="The checks after a migration. The default.")
@export_option
@target_options
def verify(*, target: Target, pre: bool, post: bool, export_path: Path | None) -> None:
    """Check every table and tenant recorded as migrated.

    Each row has its organization, it exists, it is the mapped one, nothing was lost. What is not migrated yet
    is a note, not an error. Exit 1 when a migrated row is wrong or a check could not run.
    """
    if pre and post:
        raise click.UsageError("give --pre or --post, not both")
    run_and_print(target, "pre-migration" if pre else "post-migration", export_path)
