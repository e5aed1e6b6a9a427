"""`tenant-migration install`."""

from __future__ import annotations

from pathlib import Path

import click

from tenant_migration.cli.target import config_option, place_of, resolve_target
from tenant_migration.config import actor, load_config
from tenant_migration.database.attempts import attempt
from tenant_migration.database.audit_chain import has_log
from tenant_migration.database.install import install as install_schema
from tenant_migration.database.install import render
from tenant_migration.workflow.audit_anchors import keep_anchor


@click.command(
    epilog="""\b
Examples:
  tenant-migration install
  tenant-migration install --print > install.sql      # to read it, or to run it with psql
"""
)
@click.option("--print", "print_only", is_flag=True, help="Print the SQL and connect to nothing.")
@click.option("--quickstart", "use_sample", is_flag=True, help="Install in the embedded sample database.")
@config_option
def install(*, config_path: Path | None, print_only: bool, use_sample: bool) -> None:
    """Install or upgrade the schema tenant_migration and the tables and functions that people use.

    One transaction; running it again changes nothing that is there. Needs the rights of the database's owner.
    """
    if print_only:
        click.echo(render(load_config(config_path)))
        return
    target = resolve_target(config_path, use_sample=use_sample)
    with target.connection() as connection:
        had_log = has_log(connection)
        with attempt(connection, "install", actor=actor()):
            install_schema(connection, target.config, actor=actor())
        keep_anchor(connection, began=not had_log)
        where = place_of(connection)
    click.echo(
        f"Installed in {where}: schema tenant_migration; in schema {target.config.interface_schema} "
        "tenant_org_mappings, migration_audit_log and three functions."
    )
    click.echo(
        "Next: `tenant-migration plan` shows the tables, `tenant-migration mappings --suggest` the tenants."
    )
