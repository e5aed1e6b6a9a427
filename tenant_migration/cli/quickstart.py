"""`tenant-migration quickstart`."""

from __future__ import annotations

import click

from tenant_migration.quickstart.sample.creation import SampleParameters

DEFAULTS = SampleParameters()


@click.command(
    epilog="""\b
Examples:
  tenant-migration quickstart
  tenant-migration quickstart --rows 1000000 --reset
  tenant-migration quickstart --stop           # stops the embedded server; its data stay
"""
)
@click.option(
    "--rows", type=int, metavar="N", help=f"Rows of the eight tables together. Default {DEFAULTS.rows:,}."
)
@click.option("--tenants", type=int, metavar="N", help=f"Tenants with a mapping. Default {DEFAULTS.tenants}.")
@click.option("--reset", is_flag=True, help="Drop the sample first, and only the sample.")
@click.option("--stop", is_flag=True, help="Stop the embedded server and do nothing else.")
def quickstart(*, rows: int | None, tenants: int | None, reset: bool, stop: bool) -> None:
    """Watch a sample database go from tenant_id to organization_id.

    Starts an embedded PostgreSQL, makes the sample "Union Claims" (eight tables, a hierarchy of four levels)
    and runs the whole workflow on it through Dagster, with the command of every step. Nothing outside of its
    own folder is touched. Run again, it says what is done already.
    """
    explicit = rows is not None or tenants is not None
    if stop:
        if explicit or reset:
            raise click.UsageError("--stop takes no other option")
        _stop()
        return
    wanted = SampleParameters(
        DEFAULTS.rows if rows is None else rows, DEFAULTS.tenants if tenants is None else tenants
    )
    from tenant_migration.cli.tour import Tour  # noqa: PLC0415

    Tour(wanted, explicit=explicit, reset=reset).run()


def _stop() -> None:
    from tenant_migration.quickstart.databases import stop_quickstart_server  # noqa: PLC0415

    was_running = stop_quickstart_server()
    click.echo("The embedded server is stopped." if was_running else "The embedded server does not run.")
