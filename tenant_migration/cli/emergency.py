"""`rollback --emergency`: stops everything and takes everything back, with as little as possible in between.

It asks nothing, needs no Dagster, and prints each step when it is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from tenant_migration.cli import rollback_text
from tenant_migration.cli.failures import INTERRUPTED, Failure
from tenant_migration.cli.output import console, duration, glyphs
from tenant_migration.cli.progress_display import Display, progress_display
from tenant_migration.cli.target import Target, place_of
from tenant_migration.config import actor
from tenant_migration.planning.counted import counted
from tenant_migration.recovery.whereabouts import TableWhereabouts
from tenant_migration.workflow.emergency import EmergencyOutcome, Step, emergency_rollback

INDENT = "   "


def run_emergency(target: Target) -> None:
    """Stop everything, take everything back, say what is where; exit 1 when anything is left."""
    prefix = f"{target.config.interface_schema}."
    with target.connection() as connection:
        click.echo(f"EMERGENCY STOP of {place_of(connection)}")
        try:
            with progress_display(lambda table: table.removeprefix(prefix)) as progress:
                outcome = emergency_rollback(
                    connection,
                    target.config,
                    actor=actor(),
                    progress=progress,
                    on_step=lambda step: _show_step(step, progress),
                    stop_dagster=_stop_dagster,
                )
        except Exception:
            raise
        except BaseException:  # noqa: BLE001 - Ctrl-C
            click.echo(
                "Interrupted. What is stopped and taken back stays so; run it again for the rest. "
                "`tenant-migration resume` lets migrations start again.",
                err=True,
            )
            raise click.exceptions.Exit(INTERRUPTED) from None
    _print_outcome(outcome, prefix)


def _stop_dagster() -> Sequence[str]:
    from tenant_migration.orchestration.stop_runs import stop_dagster_runs  # noqa: PLC0415 - 2 s for Dagster

    return stop_dagster_runs()


def _show_step(step: Step, display: Display) -> None:
    characters = glyphs()
    mark = {"done": characters.check, "failed": characters.cross, "skipped": ""}[step.outcome]
    display.note(f"{mark}{step.name}: {step.outcome} ({duration(step.seconds)})")
    for line in step.lines:
        display.note(f"{INDENT}{line}")


def _print_outcome(outcome: EmergencyOutcome, prefix: str) -> None:
    click.echo("")
    if outcome.rollback:
        console().print(rollback_text.outcome_table(outcome.rollback, prefix))
        click.echo("")
        for line in rollback_text.left_alone_lines(outcome.rollback, prefix):
            click.echo(line)
    click.echo("What is where:")
    for line in _whereabouts_lines(outcome.tables, prefix):
        click.echo(f"{INDENT}{line}")
    if outcome.switch is not None:
        click.echo("No migration can start until `tenant-migration resume`.")
    if outcome.left:
        raise Failure("something is left:\n" + "\n".join(outcome.left))
    click.echo(f"{glyphs().check}Everything is stopped, and nothing of the migration is left in the rows")
    click.echo(f"{INDENT}Total records restored: {outcome.rows_restored:,}")


def _whereabouts_lines(tables: Sequence[TableWhereabouts], prefix: str) -> Iterator[str]:
    if not tables:
        yield "it could not be read, or no table was ever managed"
    for table in tables:
        name = table.table.removeprefix(prefix)
        things = ", ".join(thing.removesuffix(f" on {table.table}") for thing in table.structure)
        yield f"{name}: {counted(table.rows_ours, 'row')} with a value of ours"
        if things:
            yield f"{INDENT}still there: {things}"
