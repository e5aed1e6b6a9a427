"""`tenant-migration validate`."""

from __future__ import annotations

from pathlib import Path

import click

from tenant_migration.cli.checking import run_and_print, scope_options
from tenant_migration.cli.target import Target, target_options


@click.command(
    epilog="""\b
Examples:
  tenant-migration validate
  tenant-migration validate --export validation-report.json
  tenant-migration validate --export validation-report.html
  tenant-migration validate --tenant local-12 --table claims
"""
)
@scope_options
@target_options
def validate(
    *, target: Target, export_path: Path | None, tables: tuple[str, ...], tenants: tuple[str, ...]
) -> None:
    """Check the data before a migration: mappings, orphans, NULL keys, duplicates, hierarchy.

    Exit 0 when it may start, warnings included; 1 when something critical was found or a check could not run.
    """
    run_and_print(target, "pre-migration", export_path, tables=tables, tenants=tenants)
