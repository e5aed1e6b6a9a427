"""What `validate` and `verify` share: the scope, the report, where it goes, and what the exit code says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from tenant_migration.cli.failures import ChecksFailed
from tenant_migration.cli.output import console, glyphs
from tenant_migration.cli.target import Target
from tenant_migration.database.connection import check_server
from tenant_migration.database.install import require_installed
from tenant_migration.errors import UsageError
from tenant_migration.integrity.model import Phase
from tenant_migration.integrity.report import VERDICTS
from tenant_migration.integrity.report_file import form_of, write_report
from tenant_migration.integrity.report_text import report_as_text
from tenant_migration.planning.counted import counted


def scope_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--tenant`, `--table` and `--export FILE`."""
    for option in (
        click.option(
            "--export",
            "export_path",
            metavar="FILE",
            type=click.Path(dir_okay=False, path_type=Path),
            callback=_can_be_written,
            help="Write the report to a file too: .json, .html (for a browser) or .csv, by its suffix.",
        ),
        click.option(
            "--table",
            "tables",
            metavar="NAME",
            multiple=True,
            help="Only this table, `name` or `schema.name`; may be repeated.",
        ),
        click.option(
            "--tenant", "tenants", metavar="ID", multiple=True, help="Only this tenant; may be repeated."
        ),
    ):
        command = option(command)
    return command


def _can_be_written(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    """Refuse what could not be written when everything is checked."""
    if path is None:
        return None
    if not path.parent.is_dir():
        raise click.BadParameter(f"the folder {path.parent} does not exist")
    try:
        form_of(path)
    except UsageError as error:
        raise click.BadParameter(str(error)) from None
    return path


def run_and_print(
    target: Target,
    phase: Phase,
    export_path: Path | None,
    *,
    tables: Sequence[str] = (),
    tenants: Sequence[str] = (),
) -> None:
    """Run the checks of a phase over all managed tables, or some; exit 1 when the report says `fail`."""
    with target.connection() as connection:
        check_server(connection, writes=True)
        require_installed(connection, target.config)
    from tenant_migration.orchestration.launch import run_validate, run_verify  # noqa: PLC0415 - 2 s for Dagster

    run_checks = run_validate if phase == "pre-migration" else run_verify
    report = run_checks(target.url, target.config, tables=tables or None, tenants=tenants or None)
    console().print(report_as_text(report))
    characters = glyphs()
    mark = {"pass": characters.check, "warning": characters.warning, "fail": characters.cross}
    click.echo(f"\n{mark[report['status']]}{VERDICTS[phase][report['status']]}")
    if export_path is not None:
        write_report(report, export_path)
        click.echo(f"Report written to {export_path}.")
    if report["status"] == "fail":
        raise ChecksFailed(f"{counted(report['criticalIssues'], 'critical issue')} in the {phase} checks")
