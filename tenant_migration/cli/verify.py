"""`tenant-migration verify`."""

from __future__ import annotations

from pathlib import Path

import click

from tenant_migration.cli.checking import run_and_print, scope_options
from tenant_migration.cli.target import Target, target_options
from tenant_migration.integrity.model import Phase


@click.command(
    epilog="""\b
Examples:
  tenant-migration verify
  tenant-migration verify --post --export post-migration-report.json
  tenant-migration verify --export post-migration-report.html
  tenant-migration verify --tenant local-12
  tenant-migration verify --pre
"""
)
@click.option("--pre", is_flag=True, help="The checks before a migration, as `validate` runs them.")
@click.option("--post", is_flag=True, help="The checks after a migration. The default.")
@scope_options
@target_options
def verify(
    *,
    target: Target,
    pre: bool,
    post: bool,
    export_path: Path | None,
    tables: tuple[str, ...],
    tenants: tuple[str, ...],
) -> None:
    """Check every table and tenant recorded as migrated.

    Each row has its organization, it exists, it is the mapped one, nothing was lost. What is not migrated yet
    is a note, not an error. Exit 1 when a migrated row is wrong or a check could not run.
    """
    if pre and post:
        raise click.UsageError("give --pre or --post, not both")
    phase: Phase = "pre-migration" if pre else "post-migration"
    run_and_print(target, phase, export_path, tables=tables, tenants=tenants)
