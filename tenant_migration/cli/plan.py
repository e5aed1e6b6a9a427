"""`tenant-migration plan`."""

from __future__ import annotations

from contextlib import nullcontext

import click

from tenant_migration.cli.output import console
from tenant_migration.cli.target import Target, target_options
from tenant_migration.config import actor
from tenant_migration.database.attempts import attempt, attempt_at
from tenant_migration.database.connection import check_server
from tenant_migration.planning.counted import counted
from tenant_migration.planning.model import Plan


@click.command(
    epilog="""\b
Examples:
  tenant-migration plan                    # what there is, what is dangerous, in which order
  tenant-migration plan --json > plan.json
  tenant-migration plan --write            # what migrate and Dagster work from
"""
)
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@click.option("--write", is_flag=True, help="Store the plan, for migrate and for Dagster; needs `install`.")
@target_options
def plan(*, target: Target, as_json: bool, write: bool) -> None:
    """Show tables, order, strategy, hazards and estimates.

    Reads only, on a connection that refuses to write, and works before `install` too; --write stores the plan
    and takes one short transaction.
    """
    from tenant_migration.planning.builder import build_plan  # noqa: PLC0415
    from tenant_migration.planning.storage import OPERATION  # noqa: PLC0415

    with (
        attempt_at(target.url, OPERATION, actor=actor()) if write else nullcontext(),
        target.connection(read_only=True) as connection,
    ):
        check_server(connection, writes=False)
        built = build_plan(connection, target.config)
    if as_json:
        click.echo(built.model_dump_json(indent=2))
    else:
        _print(built)
    if write:
        _store(target, built)


def _print(built: Plan) -> None:
    from tenant_migration.planning.describe import plan_as_text  # noqa: PLC0415

    out = console()
    for renderable in plan_as_text(built):
        out.print(renderable)


def _store(target: Target, built: Plan) -> None:
    from tenant_migration.database.install import require_installed  # noqa: PLC0415
    from tenant_migration.orchestration import plan_file  # noqa: PLC0415
    from tenant_migration.planning.storage import OPERATION, store_plan  # noqa: PLC0415
    from tenant_migration.workflow.prepare import refuse_database_hazards  # noqa: PLC0415

    with target.connection() as connection, attempt(connection, OPERATION, actor=actor()):
        refuse_database_hazards(built)
        check_server(connection, writes=True)
        require_installed(connection, target.config)
        number = store_plan(connection, built, actor())
    path = plan_file.write(built)
    refused = sum(1 for table in built.tables if table.refusals)
    note = f", {refused} of them refused until mended" if refused else ""
    click.echo(
        f"Plan {number} stored with {counted(len(built.tables), 'table')}{note}; for Dagster also in {path}.",
        err=True,
    )
