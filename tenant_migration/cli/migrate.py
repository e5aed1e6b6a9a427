"""`tenant-migration migrate`."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import click
import psycopg

from tenant_migration.backfill.results import DryRunTable
from tenant_migration.cli import migrate_text
from tenant_migration.cli.failures import INTERRUPTED, Failure, failure_of
from tenant_migration.cli.output import console, glyphs
from tenant_migration.cli.progress_display import progress_display
from tenant_migration.cli.target import Target, place_of, target_options
from tenant_migration.config import actor
from tenant_migration.database.attempts import attempt
from tenant_migration.database.connection import check_server
from tenant_migration.errors import PlanOutdated, Refused, TenantMigrationError
from tenant_migration.planning.counted import counted
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.workflow.backup_first import BackupFirst, foresee_backup
from tenant_migration.workflow.outcome import TableOutcome


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    tables: tuple[str, ...] | None
    tenants: tuple[str, ...] | None
    with_parents: bool
    skip_backup: bool
    skip_validation: bool


@click.command(
    epilog="""\b
Examples:
  tenant-migration migrate --dry-run
  tenant-migration migrate
  tenant-migration migrate --tenant local-12 --tenant "O'Brien, Local 7"
  tenant-migration migrate --table claims --with-parents
  tenant-migration migrate --table claims --tenant local-12    # that tenant's rows of that table
"""
)
@click.option("--dry-run", is_flag=True, help="Change nothing: counts, statements, estimates, refusals.")
@click.option("--tenant", "tenants", metavar="ID", multiple=True, help="Only this tenant; may be repeated.")
@click.option(
    "--table",
    "tables",
    metavar="NAME",
    multiple=True,
    help="Only this table, `name` or `schema.name`; may be repeated.",
)
@click.option("--with-parents", is_flag=True, help="Also the tables that the chosen ones refer to.")
@click.option(
    "--skip-backup",
    is_flag=True,
    help="Do not back up the rows first. Every batch is journaled anyway, which is what undoes it.",
)
@click.option(
    "--skip-validation",
    is_flag=True,
    help="Do not run the checks before. The checks after always run.",
)
@target_options
def migrate(
    *,
    target: Target,
    dry_run: bool,
    tenants: tuple[str, ...],
    tables: tuple[str, ...],
    with_parents: bool,
    skip_backup: bool,
    skip_validation: bool,
) -> None:
    """Move rows from tenant_id to organization_id: validated before, verified after.

    Without options all tables for every tenant with a mapping, which is refused while a tenant with rows has
    none. Stop it at any time; run again, it does what is left. Exit 0 only when everything that was asked for
    is completed and verified.
    """
    request = Request(tables or None, tenants or None, with_parents, skip_backup, skip_validation)
    if dry_run:
        _dry_run(target, request)
    else:
        _migrate(target, request)


def _migrate(target: Target, request: Request) -> None:
    from tenant_migration.planning.storage import store_plan  # noqa: PLC0415
    from tenant_migration.workflow.prepare import find_or_build_plan  # noqa: PLC0415

    with (
        target.connection() as connection,
        attempt(connection, "migrate", actor=actor(), tables=request.tables, tenants=request.tenants),
    ):
        check_server(connection, writes=True)
        plan, is_stored = find_or_build_plan(connection, target.config)
        tables, tenants = _selected(connection, target, plan, request)
        if not is_stored:
            store_plan(connection, plan, actor())
        place = place_of(connection)
        started_at = _now(connection)
    cost = migrate_text.planned_cost(tables)
    for line in migrate_text.before_lines(plan, tables, tenants, place=place, cost=cost):
        click.echo(line)
    click.echo("   (rows and estimates are the plan's, for whole tables; --dry-run counts exactly)")
    try:
        outcomes = _run(target, request, plan)
    except Exception:
        _print_committed(target, plan, started_at)
        raise
    except BaseException:  # noqa: BLE001 - Ctrl-C, as Python's own or as Dagster's interruption
        click.echo("Interrupted.", err=True)
        _print_committed(target, plan, started_at)
        click.echo("Run the same command again to go on.", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    _print_outcomes(target, plan, [table.qualified_name for table in tables], outcomes)


def _run(target: Target, request: Request, plan: Plan) -> list[TableOutcome]:
    from tenant_migration.orchestration.launch import run_migrate  # noqa: PLC0415 - 2 s for Dagster
    from tenant_migration.orchestration.storage import describe_storage  # noqa: PLC0415

    click.echo(f"   {describe_storage()}")
    click.echo("")
    with progress_display(lambda table: migrate_text.label(table, plan)) as progress:
        return run_migrate(
            target.url,
            target.config,
            tables=request.tables,
            tenants=request.tenants,
            with_parents=request.with_parents,
            skip_backup=request.skip_backup,
            skip_validation=request.skip_validation,
            progress=progress,
            on_backup=lambda first: progress.note(f"   {_sentence(first)}"),
        )


def _sentence(first: BackupFirst) -> str:
    said = str(first)
    return f"{said[:1].upper()}{said[1:]}"


def _selected(
    connection: psycopg.Connection, target: Target, plan: Plan, request: Request
) -> tuple[list[TablePlan], list[str] | None]:
    from tenant_migration.workflow.selection import (  # noqa: PLC0415
        add_parents,
        select_tables,
        select_tenants,
    )

    tables = select_tables(plan, request.tables)
    tenants = select_tenants(connection, target.config, request.tenants)
    return (add_parents(plan, tables) if request.with_parents else tables), tenants


def _dry_run(target: Target, request: Request) -> None:
    from tenant_migration.backfill.dry_run import dry_run_table  # noqa: PLC0415
    from tenant_migration.workflow.migrate import resolve_scope  # noqa: PLC0415
    from tenant_migration.workflow.prepare import find_or_build_plan  # noqa: PLC0415

    with target.connection(read_only=True) as connection:
        check_server(connection, writes=False)
        plan, _ = find_or_build_plan(connection, target.config)
        tables, tenants = _selected(connection, target, plan, request)
        place = place_of(connection)
        refusals = list(_why_dagster_refuses(target))
        backup = "none, by --skip-backup"
        try:
            scope = resolve_scope(
                connection,
                target.config,
                plan,
                tables=request.tables,
                tenants=request.tenants,
                with_parents=request.with_parents,
                skip_validation=request.skip_validation,
                dry_run=True,
            )
            if not request.skip_backup:
                backup = foresee_backup(connection, target.config, plan, scope)
        except (Refused, PlanOutdated) as refusal:
            refusals.append(str(refusal))
            backup = "not looked at, since the real run would not start"
        results = [dry_run_table(connection, plan, table, tenants=tenants) for table in tables]
    click.echo("Mode: DRY RUN, nothing is changed")
    cost = migrate_text.counted_cost(results)
    for line in migrate_text.before_lines(plan, tables, tenants, place=place, cost=cost):
        click.echo(line)
    click.echo(f"   Backup: {backup}")
    _print_dry_run(plan, results, refusals)


def _why_dagster_refuses(target: Target) -> Iterator[str]:
    """Yield why the run could not be recorded: a real one starts only when Dagster's storage is there."""
    from tenant_migration.orchestration.storage import refuse_same_database  # noqa: PLC0415

    try:
        refuse_same_database(target.url)
    except TenantMigrationError as error:
        yield str(error)


def _print_dry_run(plan: Plan, results: Sequence[DryRunTable], refusals: list[str]) -> None:
    click.echo("")
    console().print(migrate_text.dry_run_tables(plan, results))
    for line in migrate_text.dry_run_lines(plan, results):
        click.echo(line)
    of_tables = [
        f"{migrate_text.label(result.table, plan)}: {refusal}"
        for result in results
        for refusal in result.refusals
    ]
    every = [*refusals, *of_tables]
    if every:
        raise Failure("the real run would not start:\n" + "\n".join(every))
    rows = sum(result.rows_to_migrate for result in results)
    click.echo("")
    click.echo(
        f"{glyphs().check}Migration validated: the real run would start now and migrate "
        f"{counted(rows, 'row')}."
    )


def _print_outcomes(
    target: Target, plan: Plan, asked: Sequence[str], outcomes: Sequence[TableOutcome]
) -> None:
    console().print(migrate_text.outcome_table(plan, outcomes))
    click.echo("")
    rows = sum(outcome.result.rows_migrated for outcome in outcomes if outcome.result)
    not_started = sorted(set(asked) - {outcome.table for outcome in outcomes})
    unfinished = [outcome for outcome in outcomes if outcome.state != "completed"]
    if not unfinished and not not_started:
        click.echo(f"{glyphs().check}Migration completed successfully!")
        click.echo(f"   Total records migrated: {rows:,}")
        return
    click.echo(f"{glyphs().cross}Migration ended with errors")
    click.echo(f"   Total records migrated: {rows:,}")
    lines = [
        *migrate_text.unfinished_lines(plan, unfinished, _reasons(target, unfinished)),
        *(f"{migrate_text.label(table, plan)}: not started" for table in not_started),
    ]
    raise Failure(
        "not everything is migrated; what is done stays, run again for the rest:\n" + "\n".join(lines)
    )


def _reasons(target: Target, outcomes: Sequence[TableOutcome]) -> dict[tuple[str, str], str | None]:
    """Return why each pair ended as it did, unless it is not there any more: another run may be at work."""
    from tenant_migration.workflow.status import pair_reasons  # noqa: PLC0415

    with target.connection(read_only=True) as connection:
        found = pair_reasons(connection, [outcome.table for outcome in outcomes])
    reasons = {}
    for outcome in outcomes:
        for tenant, ended_as in outcome.tenant_states.items():
            state, reason = found.get((outcome.table, tenant), (ended_as, None))
            reasons[outcome.table, tenant] = (
                reason if state == ended_as else f"another run has taken it up since ({state})"
            )
    return reasons


def _print_committed(target: Target, plan: Plan, since: datetime) -> None:
    """Say what this process committed before it was stopped."""
    from tenant_migration.workflow.status import rows_committed_since  # noqa: PLC0415

    try:
        with target.connection(read_only=True) as connection:
            committed = rows_committed_since(connection, since, socket.gethostname(), os.getpid())
    except (TenantMigrationError, psycopg.Error) as error:
        click.echo(f"What was committed is not known: {failure_of(error).message}", err=True)
        return
    if not committed:
        click.echo("Nothing was written.", err=True)
    for table, rows in committed:
        click.echo(
            f"Committed and journaled: {migrate_text.label(table, plan)}: {counted(rows, 'row')}", err=True
        )


def _now(connection: psycopg.Connection) -> datetime:
    [(now,)] = connection.execute("SELECT clock_timestamp()")
    return cast("datetime", now)
