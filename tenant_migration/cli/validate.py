"""`tenant-migration validate`."""

from __future__ import annotations

from pathlib import Path

import click

from tenant_migration.cli.checking import export_option, run_and_print
from tenant_migration.cli.target import Target, target_options


@click.command(
    epilog="""\b
Examples:
  tenant-migration validate
  tenant-migration validate --export validation-report.json
"""
)
@export_option
@target_options
def validate(*, target: Target, export_path: Path | None) -> None:
    """Check the data before a migration: mappings, orphans, NULL keys, duplicates, hierarchy.

    Exit 0 when it may start, warnings included; 1 when something critical was found or a check could not run.
    """
    run_and_print(target, "pre-migration", export_path)
