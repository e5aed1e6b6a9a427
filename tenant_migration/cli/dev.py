"""`tenant-migration dev`."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import click

from tenant_migration.cli.failures import Failure
from tenant_migration.cli.output import is_terminal
from tenant_migration.cli.serving import serve
from tenant_migration.cli.target import Target, config_option, resolve_target
from tenant_migration.config import (
    CONFIG_VARIABLE,
    DATABASE_URL_VARIABLE,
    DEFAULT_CONFIG_FILE,
    actor,
)
from tenant_migration.errors import NoPlan, NotInstalled
from tenant_migration.quickstart.folders import HOME_VARIABLE, sample_config_file

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command(
    epilog="""\b
Examples:
  tenant-migration dev --quickstart        # on the sample
  tenant-migration dev --port 3001
"""
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=3000, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on."
)
@click.option("--quickstart", "use_sample", is_flag=True, help="Work on the embedded sample database.")
@config_option
def dev(*, host: str, port: int, use_sample: bool, config_path: Path | None) -> None:
    """Start Dagster's UI and daemon on the configured database; Ctrl-C stops both.

    Its storage is TENANT_MIGRATION_DAGSTER_URL, else the embedded server. Nobody has to log in: whoever can
    reach the address can start a migration.
    """
    from tenant_migration.orchestration.instance import prepare_home  # noqa: PLC0415 - imports dagster
    from tenant_migration.orchestration.storage import (  # noqa: PLC0415
        describe_storage,
        refuse_same_database,
    )

    _refuse_taken_port(host, port)
    target = resolve_target(config_path, use_sample=use_sample)
    home = prepare_home()
    refuse_same_database(target.url)
    _show_plan_of(target)
    if host not in LOOPBACK:
        click.echo(
            f"Warning: {host} can be reached from outside, and the UI asks nobody who he is.", err=True
        )
    click.echo(describe_storage())
    environment = {
        **os.environ,
        DATABASE_URL_VARIABLE: target.url,
        HOME_VARIABLE: str(home),
        **_config_variable(config_path, use_sample=use_sample),
    }
    serve(host, port, environment, home)


def _refuse_taken_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Failure(
                f"{host}:{port} cannot be listened on: {error.strerror}; name another --port"
            ) from error


def _show_plan_of(target: Target) -> None:
    """Let the definitions be those of this database: write its plan's file, or none.

    Without a plan, and a person there to ask, one is made when the answer is yes; else the UI has one job,
    `discover`, which makes it.
    """
    from tenant_migration.database.install import require_installed  # noqa: PLC0415
    from tenant_migration.orchestration import plan_file  # noqa: PLC0415
    from tenant_migration.planning.storage import load_plan  # noqa: PLC0415
    from tenant_migration.workflow.prepare import stored_or_new_plan  # noqa: PLC0415

    with target.connection() as connection:
        try:
            require_installed(connection, target.config)
            plan = load_plan(connection)
        except NotInstalled as error:
            plan = None
            click.echo(f"{error}; until then the UI can do nothing here.", err=True)
        except NoPlan as error:
            plan = None
            if is_terminal() and sys.stdin.isatty() and click.confirm("There is no plan yet. Store one now?"):
                plan = stored_or_new_plan(connection, target.config, actor=actor())
            else:
                click.echo(f"{error}, or start the job `discover` in the UI.", err=True)
    if plan is None:
        plan_file.plan_path().unlink(missing_ok=True)
    else:
        plan_file.write(plan)


def _config_variable(config_path: Path | None, *, use_sample: bool) -> dict[str, str]:
    """Return the variable that names the configuration file, absolute: Dagster runs in another folder."""
    named = os.environ.get(CONFIG_VARIABLE)
    candidates = [
        config_path,
        sample_config_file() if use_sample else None,
        Path(named) if named else None,
        Path(DEFAULT_CONFIG_FILE),
    ]
    found = next((path for path in candidates if path is not None and path.exists()), None)
    return {} if found is None else {CONFIG_VARIABLE: str(found.absolute())}
