"""What `validate` and `verify` share: the scope, the report, where it goes, and what the exit code says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tenant_migration.cli.failures import ChecksFailed
from tenant_migration.cli.output import console, glyphs
from tenant_migration.cli.target import Target
from tenant_migration.database.connection import check_server
from tenant_migration.database.install import require_installed
from tenant_migration.integrity.model import Phase
from tenant_migration.integrity.report_text import report_as_text

VERDICTS: dict[Phase, dict[str, str]] = {
    "pre-migration": {
        "pass": "Validation PASSED - Ready to migrate",
        "warning": "Validation PASSED with warnings",
        "fail": "Validation FAILED - Fix issues before migrating",
    },
    "post-migration": {
        "pass": "Post-migration verification PASSED",
        "warning": "Post-migration verification PASSED with warnings",
        "fail": "Post-migration verification FAILED",
    },
}
"""The users know the first three."""


def export_option(command: Any) -> Any:
    """Add `--export FILE`; its folder must be there before anything is asked."""
    return click.option(
        "--export",
        "export_path",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        callback=_folder_exists,
        help="Write the report to a JSON file too.",
    )(command)


def _folder_exists(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and not path.parent.is_dir():
        raise click.BadParameter(f"the folder {path.parent} does not exist")
    return path


def run_and_print(target: Target, phase: Phase, export_path: Path | None) -> None:
    """Run the checks of a phase over all managed tables; exit 1 when the report says `fail`."""
    with target.connection() as connection:
        check_server(connection, writes=True)
        require_installed(connection, target.config)
    from tenant_migration.orchestration.launch import run_validate, run_verify  # noqa: PLC0415 - 2 s for Dagster

    run_checks = run_validate if phase == "pre-migration" else run_verify
    report = run_checks(target.url, target.config)
    console().print(report_as_text(report))
    characters = glyphs()
    mark = {"pass": characters.check, "warning": characters.warning, "fail": characters.cross}
    click.echo(f"\n{mark[report['status']]}{VERDICTS[phase][report['status']]}")
    if export_path is not None:
        from tenant_migration.integrity.report import write_report  # noqa: PLC0415

        write_report(report, export_path)
        click.echo(f"Report written to {export_path}.")
    if report["status"] == "fail":
        raise ChecksFailed(f"{report['criticalIssues']:,} critical issues in the {phase} checks")
