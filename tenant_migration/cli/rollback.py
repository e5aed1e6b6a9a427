"""`tenant-migration rollback`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import click

from tenant_migration.cli import rollback_text
from tenant_migration.cli.failures import INTERRUPTED, Failure
from tenant_migration.cli.output import console, glyphs, is_terminal
from tenant_migration.cli.progress_display import progress_display
from tenant_migration.cli.target import Target, place_of, target_options
from tenant_migration.config import actor
from tenant_migration.database.attempts import attempt
from tenant_migration.database.connection import check_server
from tenant_migration.database.install import require_installed
from tenant_migration.workflow.rollback_outcome import RollbackOutcome


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    tenants: tuple[str, ...] | None
    tables: tuple[str, ...] | None
    with_children: bool
    verify: bool
    from_backup: int | None
    drop_created: bool


@click.command(
    epilog="""\b
Examples:
  tenant-migration rollback --tenant local-12
  tenant-migration rollback --table claims --with-children
  tenant-migration rollback --table claims --tenant local-12    # that tenant's rows of that table
  tenant-migration rollback --all --verify
  tenant-migration rollback --all --drop-created --yes
  tenant-migration rollback --emergency        # stops every migration, then takes everything back
"""
)
@click.option("--tenant", "tenants", metavar="ID", multiple=True, help="This tenant; may be repeated.")
@click.option(
    "--table",
    "tables",
    metavar="NAME",
    multiple=True,
    help="This table, `name` or `schema.name`; may be repeated.",
)
@click.option("--with-children", is_flag=True, help="Also the tables that refer to the chosen ones.")
@click.option("--all", "everything", is_flag=True, help="Every table for every tenant.")
@click.option(
    "--emergency",
    is_flag=True,
    help="Stop every migration at once, let none start until `resume`, take everything back. Asks nothing; "
    "needs no Dagster.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Compare afterwards with the journal, and with a backup where one covers it.",
)
@click.option("--yes", is_flag=True, help="Do not ask; needed where nobody can be asked.")
@click.option(
    "--from-backup",
    metavar="ID",
    type=click.IntRange(1),
    help="Bring back the values of this backup instead of the journal's.",
)
@click.option(
    "--drop-created",
    is_flag=True,
    help="Also drop the columns, indexes and keys that the migration created. Refused while such a column "
    "holds a value or something depends on it.",
)
@target_options
def rollback(
    *,
    target: Target,
    tenants: tuple[str, ...],
    tables: tuple[str, ...],
    with_children: bool,
    everything: bool,
    emergency: bool,
    verify: bool,
    yes: bool,
    from_backup: int | None,
    drop_created: bool,
) -> None:
    """Take back what a migration wrote, and only that.

    Each row gets the value that it had before. What the application wrote since is left alone and listed.
    Stop it at any time; run again, it does what is left. What was rolled back can be migrated again. Exit 0
    only when everything that was asked for is rolled back.
    """
    given = {
        "--tenant": bool(tenants),
        "--table": bool(tables),
        "--all": everything,
        "--emergency": emergency,
        "--with-children": with_children,
        "--from-backup": from_backup is not None,
        "--drop-created": drop_created,
    }
    _refuse_contradictions({option for option, is_given in given.items() if is_given})
    if emergency:
        from tenant_migration.cli.emergency import run_emergency  # noqa: PLC0415

        run_emergency(target)
        return
    if not yes and not _somebody_can_be_asked():
        raise click.UsageError("there is no terminal to ask for a confirmation: give --yes")
    request = Request(tenants or None, tables or None, with_children, verify, from_backup, drop_created)
    _roll_back(target, request, ask=not yes)


def _refuse_contradictions(given: set[str]) -> None:
    """Exit 2 when the options do not say one thing."""
    if not given & {"--tenant", "--table", "--all", "--emergency"}:
        raise click.UsageError("say what to take back: --tenant ID, --table NAME, --all or --emergency")
    if "--emergency" in given:
        _refuse_beside("--emergency", given - {"--emergency"})
    if "--all" in given:
        _refuse_beside("--all", given & {"--tenant", "--table", "--with-children"})
    if "--with-children" in given and "--table" not in given:
        raise click.UsageError("--with-children goes with --table")
    if "--drop-created" in given:
        _refuse_beside("--drop-created", given & {"--tenant"})


def _refuse_beside(option: str, others: set[str]) -> None:
    if others:
        raise click.UsageError(f"{option} excludes {', '.join(sorted(others))}")


def _somebody_can_be_asked() -> bool:
    return is_terminal() and sys.stdin.isatty()


def _roll_back(target: Target, request: Request, *, ask: bool) -> None:
    from tenant_migration.planning.storage import load_plan  # noqa: PLC0415
    from tenant_migration.workflow.rollback import OPERATION, record_nothing_left  # noqa: PLC0415
    from tenant_migration.workflow.rollback_scope import resolve_rollback  # noqa: PLC0415

    prefix = f"{target.config.interface_schema}."
    with target.connection() as connection:
        check_server(connection, writes=True)
        require_installed(connection, target.config)
        with attempt(connection, OPERATION, actor=actor(), tables=request.tables, tenants=request.tenants):
            scope = resolve_rollback(
                connection,
                target.config,
                load_plan(connection),
                tables=request.tables,
                tenants=request.tenants,
                with_children=request.with_children,
                drop_created=request.drop_created,
                from_backup=request.from_backup,
            )
        if scope.nothing_left is not None:
            record_nothing_left(connection, scope, actor=actor())
            click.echo(f"{scope.nothing_left[:1].upper()}{scope.nothing_left[1:]}.")
            return
        for line in rollback_text.before_lines(scope, prefix, place=place_of(connection)):
            click.echo(line)
        [(database,)] = connection.execute("SELECT current_database()")
    if ask and not click.confirm("Take this back?"):
        raise Failure("nothing was taken back")
    outcomes = _run(target, request, database=database, prefix=prefix)
    _print_outcomes(outcomes, [table.qualified_name for table in scope.tables], prefix)


def _run(target: Target, request: Request, *, database: str, prefix: str) -> list[RollbackOutcome]:
    from tenant_migration.orchestration.launch import run_rollback  # noqa: PLC0415 - 2 s for Dagster
    from tenant_migration.orchestration.storage import describe_storage  # noqa: PLC0415

    click.echo(f"   {describe_storage()}")
    click.echo("")
    try:
        with progress_display(lambda table: table.removeprefix(prefix)) as progress:
            return run_rollback(
                target.url,
                target.config,
                database=database,
                tables=request.tables,
                tenants=request.tenants,
                with_children=request.with_children,
                drop_created=request.drop_created,
                verify=request.verify,
                from_backup=request.from_backup,
                progress=progress,
            )
    except Exception:
        raise
    except BaseException:  # noqa: BLE001 - Ctrl-C, as Python's own or as Dagster's interruption
        click.echo(
            "Interrupted. What was taken back stays so; run the same command again to go on.", err=True
        )
        raise click.exceptions.Exit(INTERRUPTED) from None


def _print_outcomes(outcomes: Sequence[RollbackOutcome], asked: Sequence[str], prefix: str) -> None:
    console().print(rollback_text.outcome_table(outcomes, prefix))
    click.echo("")
    for line in (
        *rollback_text.left_alone_lines(outcomes, prefix),
        *rollback_text.note_lines(outcomes, prefix),
        *rollback_text.verification_lines(outcomes, prefix),
    ):
        click.echo(line)
    restored = sum(outcome.rows_restored for outcome in outcomes)
    not_started = sorted(set(asked) - {outcome.table for outcome in outcomes})
    unfinished = [outcome for outcome in outcomes if outcome.state != "rolled_back"]
    if not unfinished and not not_started:
        click.echo(f"{glyphs().check}Rollback completed successfully!")
        click.echo(f"   Total records restored: {restored:,}")
        return
    click.echo(f"{glyphs().cross}Rollback ended with errors")
    click.echo(f"   Total records restored: {restored:,}")
    lines = [
        *rollback_text.unfinished_lines(unfinished, prefix),
        *(f"{table.removeprefix(prefix)}: not started" for table in not_started),
    ]
    raise Failure(
        "not everything is rolled back; what is restored stays so, run again for the rest:\n"
        + "\n".join(lines)
    )
