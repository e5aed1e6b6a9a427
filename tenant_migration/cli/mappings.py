"""`tenant-migration mappings`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from tenant_migration.cli.output import console, plain_table, shown
from tenant_migration.cli.target import Target, target_options
from tenant_migration.config import actor
from tenant_migration.database.install import require_installed
from tenant_migration.mapping.csv_export import export_mappings, write_mappings_file
from tenant_migration.mapping.csv_import import import_mappings
from tenant_migration.mapping.model import MAPPING_STATUSES, Mapping
from tenant_migration.mapping.repository import list_mappings
from tenant_migration.mapping.suggestions import Suggestion, suggest
from tenant_migration.planning.counted import counted

ALL = "all"


@click.command(
    epilog="""\b
Examples:
  tenant-migration mappings --suggest
  tenant-migration mappings --suggest --export mappings.csv   # to read, mend and import
  tenant-migration mappings --import mappings.csv
  tenant-migration mappings --list
  tenant-migration mappings --list failed
  tenant-migration mappings --export mappings.csv
"""
)
@click.option(
    "--import",
    "import_path",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Write the mappings of a CSV file (header tenant_id,organization_id): all of them, or none.",
)
@click.option(
    "--suggest", "suggesting", is_flag=True, help="Propose organizations by slug and name; writes no mapping."
)
@click.option(
    "--export",
    "export_path",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write all mappings, or with --suggest the unambiguous proposals, to a CSV file.",
)
@click.option(
    "--list",
    "status",
    metavar="[STATUS]",
    is_flag=False,
    flag_value=ALL,
    type=click.Choice([ALL, *MAPPING_STATUSES]),
    help="Print the mappings, all or in one status: " + ", ".join(MAPPING_STATUSES) + ".",
)
@target_options
def mappings(
    *,
    target: Target,
    import_path: Path | None,
    suggesting: bool,
    export_path: Path | None,
    status: str | None,
) -> None:
    """Import, export, list or suggest which organization each tenant goes to."""
    asked = [
        import_path is not None,
        suggesting,
        status is not None,
        export_path is not None and not suggesting,
    ]
    if sum(asked) != 1:
        raise click.UsageError("give one of --import FILE, --suggest, --export FILE, --list [STATUS]")
    if export_path is not None and not export_path.parent.is_dir():
        raise click.UsageError(f"--export: the folder {export_path.parent} does not exist")
    with target.connection(read_only=import_path is None) as connection:
        require_installed(connection, target.config)
        if import_path is not None:
            result = import_mappings(connection, target.config, import_path, actor())
            click.echo(
                f"{counted(result.total, 'mapping')} in {import_path}: {result.created:,} new, "
                f"{result.changed:,} changed, {result.unchanged:,} as they were."
            )
        elif suggesting:
            from tenant_migration.planning.builder import build_plan  # noqa: PLC0415

            suggestions = suggest(connection, target.config, build_plan(connection, target.config))
            _print_suggestions(suggestions, export_path)
        elif export_path is not None:
            count = export_mappings(connection, target.config, export_path)
            click.echo(f"{counted(count, 'mapping')} written to {export_path}.")
        else:
            found = list_mappings(connection, target.config, None if status == ALL else status)
            _print_mappings(found, status)


def _print_mappings(found: Sequence[Mapping], status: str | None) -> None:
    if found:
        table = plain_table(
            "Tenant", "Organization", "Status", "Migrated", "Last error", "Records", numbers_from=5
        )
        for mapping in found:
            table.add_row(
                shown(mapping.tenant_id),
                str(mapping.organization_id),
                mapping.migration_status,
                "" if mapping.migrated_at is None else mapping.migrated_at.isoformat(" ", "seconds"),
                shown(mapping.error_log or ""),
                f"{mapping.record_count:,}",
            )
        console().print(table)
    which = "" if status == ALL else f" in status {status}"
    click.echo(f"{counted(len(found), 'mapping')}{which}.")


def _print_suggestions(suggestions: Sequence[Suggestion], export_path: Path | None) -> None:
    if not suggestions:
        click.echo("Every tenant of the managed tables has a mapping, or is allowed to have none.")
        return
    table = plain_table("Tenant", "Organization", "Slug", "Name", "Matched by", "Tables", numbers_from=6)
    for suggestion in suggestions:
        for candidate in suggestion.candidates:
            exactly = "equal" if candidate.exact else "equal but for case"
            several = "" if len(suggestion.candidates) == 1 else ", one of several"
            table.add_row(
                shown(suggestion.tenant_id),
                str(candidate.organization_id),
                shown(candidate.slug or ""),
                shown(candidate.name or ""),
                f"{candidate.matched_by} {exactly}{several}",
                ", ".join(suggestion.tables),
            )
        if not suggestion.candidates:
            table.add_row(shown(suggestion.tenant_id), "", "", "", "nothing", ", ".join(suggestion.tables))
    console().print(table)
    single = [
        (suggestion.tenant_id, suggestion.organization_id)
        for suggestion in suggestions
        if suggestion.organization_id is not None
    ]
    click.echo(
        f"{counted(len(suggestions), 'tenant')} without a mapping: {len(single):,} with one proposal, "
        f"{sum(1 for s in suggestions if len(s.candidates) > 1):,} with several, "
        f"{sum(1 for s in suggestions if not s.candidates):,} with none. Nothing was written to the database."
    )
    if export_path is not None:
        write_mappings_file(export_path, single)
        click.echo(
            f"{len(single):,} proposals written to {export_path}: read it, "
            f"then `tenant-migration mappings --import {export_path}`."
        )
