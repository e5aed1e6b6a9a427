"""`tenant-migration backup`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tenant_migration.cli import backup_text
from tenant_migration.cli.failures import Failure
from tenant_migration.cli.output import console, glyphs
from tenant_migration.cli.progress_display import progress_display
from tenant_migration.cli.target import Target, place_of, target_options
from tenant_migration.config import actor
from tenant_migration.database.connection import check_server
from tenant_migration.database.install import require_installed

DAYS_MAX = 36_500


class Days(click.IntRange):
    """A number of days; the option's bare name means the configuration's."""

    name = "days"
    BARE = "configured"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or `BARE`."""
        return value if value == self.BARE else super().convert(value, param, ctx)


@click.command(
    epilog="""\b
Examples:
  tenant-migration backup --create
  tenant-migration backup --create --tenant local-12 --table claims
  tenant-migration backup --create --directory /srv/backups
  tenant-migration backup --list
  tenant-migration backup --cleanup        # older than 7 days
  tenant-migration backup --cleanup 14     # older than 14 days
  tenant-migration backup --hold 3         # until --release 3
"""
)
@click.option("--create", is_flag=True, help="Back up, in one snapshot, and read the copy back.")
@click.option(
    "--tenant", "tenants", metavar="ID", multiple=True, help="Rows of this tenant only; may be repeated."
)
@click.option(
    "--table",
    "tables",
    metavar="NAME",
    multiple=True,
    help="This table only, `name` or `schema.name`; may be repeated.",
)
@click.option(
    "--directory",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write it there, as COPY BINARY files with a manifest of checksums.",
)
@click.option("--list", "show", is_flag=True, help="Every backup, and why a cleanup would keep it.")
@click.option(
    "--cleanup",
    "days",
    metavar="[DAYS]",
    type=Days(0, DAYS_MAX),
    is_flag=False,
    flag_value=Days.BARE,
    help="Drop what is older. Default: backups.retention_days of the configuration, 7. What is held, not "
    "verified, or needed by a rollback that is still possible stays.",
)
@click.option("--hold", metavar="ID", type=click.IntRange(1), help="Keep a backup whatever its age.")
@click.option("--release", metavar="ID", type=click.IntRange(1), help="Let a held backup age again.")
@target_options
def backup(
    *,
    target: Target,
    create: bool,
    tenants: tuple[str, ...],
    tables: tuple[str, ...],
    directory: Path | None,
    show: bool,
    days: int | str | None,
    hold: int | None,
    release: int | None,
) -> None:
    """Copy rows into the tool's private schema, list the copies, drop old ones.

    Whole tables, or some tenants' rows of them; every copy is read back and compared before it counts.
    """
    chosen = {
        "--create": create,
        "--list": show,
        "--cleanup": days is not None,
        "--hold": hold is not None,
        "--release": release is not None,
    }
    if sum(chosen.values()) != 1:
        raise click.UsageError(f"give one of {', '.join(chosen)}")
    if not create and (tenants or tables or directory):
        raise click.UsageError("--tenant, --table and --directory go with --create")
    if create:
        _create(target, tables, tenants, directory)
    elif show:
        _list(target)
    elif days is not None:
        _clean_up(target, None if days == Days.BARE else int(days))
    else:
        _hold_or_release(target, hold, release)


def _create(target: Target, tables: Sequence[str], tenants: Sequence[str], directory: Path | None) -> None:
    with target.connection() as connection:
        check_server(connection, writes=True)
        require_installed(connection, target.config)
        click.echo(f"Backup of {place_of(connection)}")
    from tenant_migration.orchestration.launch import run_backup  # noqa: PLC0415 - 2 s for Dagster

    prefix = f"{target.config.interface_schema}."
    with progress_display(lambda table: table.removeprefix(prefix)) as progress:
        backup = run_backup(
            target.url,
            target.config,
            tables=tables or None,
            tenants=tenants or None,
            directory=directory.absolute() if directory else None,
            progress=progress,
        )
    console().print(backup_text.tables_of(backup, prefix))
    click.echo("")
    if not backup.verified:
        raise Failure(
            f"backup {backup.backup_id} is {backup.state} and not every table of it is verified: "
            "do not rely on it, make another"
        )
    click.echo(f"{glyphs().check}Backup {backup.backup_id} is complete and verified")
    for line in backup_text.lines_of(backup):
        click.echo(line)


def _list(target: Target) -> None:
    from tenant_migration.workflow.backup import list_backups  # noqa: PLC0415

    with target.connection(read_only=True) as connection:
        check_server(connection, writes=False)
        require_installed(connection, target.config)
        backups = list_backups(connection, target.config)
    if not backups:
        click.echo("There is no backup; `tenant-migration backup --create` makes one.")
        return
    console().print(backup_text.listing(backups))
    click.echo("")
    click.echo(backup_text.sum_of(backups))


def _clean_up(target: Target, days: int | None) -> None:
    with target.connection() as connection:
        check_server(connection, writes=True)
        require_installed(connection, target.config)
    from tenant_migration.orchestration.launch import run_backup_cleanup  # noqa: PLC0415

    cleanup = run_backup_cleanup(target.url, target.config, days=days)
    for line in backup_text.cleanup_lines(cleanup):
        click.echo(line)


def _hold_or_release(target: Target, held: int | None, released: int | None) -> None:
    from tenant_migration.workflow.backup import hold, release  # noqa: PLC0415

    with target.connection() as connection:
        check_server(connection, writes=True)
        require_installed(connection, target.config)
        if held is not None:
            holder = hold(connection, held, actor=actor())
            before = "" if holder == actor() else f" by {holder}, who asked first"
            click.echo(f"Backup {held} is held{before}: no cleanup drops it until `backup --release {held}`.")
        elif released is not None:
            if release(connection, released, actor=actor()) is None:
                click.echo(f"Backup {released} was not held by anybody: nothing to release.")
            else:
                click.echo(f"Backup {released} is released: a cleanup may drop it when it is old enough.")
