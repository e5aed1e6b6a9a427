"""`tenant-migration status`."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import click

from tenant_migration.cli.output import glyphs, is_terminal, print_json
from tenant_migration.cli.status_text import status_lines
from tenant_migration.cli.target import Target, target_options
from tenant_migration.workflow.status import Status, read_status

WATCH_INTERVAL_S = 2.0


@click.command(
    epilog="""\b
Examples:
  tenant-migration status
  tenant-migration status --detailed
  tenant-migration status --detailed --watch
  tenant-migration status --json | jq .tables
"""
)
@click.option("--detailed", is_flag=True, help="Count each table's rows too; reads every table once.")
@click.option("--json", "as_json", is_flag=True, help="Everything, with details, as JSON.")
@click.option("--watch", is_flag=True, help="Again every two seconds, until Ctrl-C.")
@target_options
def status(*, target: Target, detailed: bool, as_json: bool, watch: bool) -> None:
    """Show where the migration stands."""
    with target.connection(read_only=True) as connection:
        while True:
            current = read_status(connection, target.config, detailed=detailed or as_json)
            if watch and is_terminal() and not as_json:
                click.clear()
            _print(current, detailed=detailed, as_json=as_json)
            if not watch:
                return
            time.sleep(WATCH_INTERVAL_S)


def _print(current: Status, *, detailed: bool, as_json: bool) -> None:
    if as_json:
        print_json(status_as_json(current))
        return
    for line in status_lines(current, glyphs(), detailed=detailed):
        click.echo(line)


def status_as_json(current: Status) -> dict[str, Any]:
    """Return the status as plain values, with percentages to two decimals as the SQL function gives them."""
    value = asdict(current)
    for table, shown in zip(current.tables, value["tables"], strict=True):
        shown["percentage"] = round(table.percentage, 2)
    value["overall"] = {
        "total_rows": current.total_rows,
        "migrated_rows": current.migrated_rows,
        "percentage": round(current.percentage, 2),
    }
    return value
