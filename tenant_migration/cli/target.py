"""The options that every command shares: which configuration, which database."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import psycopg

from tenant_migration.config import MigrationConfig, database_url, load_config
from tenant_migration.database.connection import connect
from tenant_migration.workflow.audit_anchors import keep_anchor


@dataclass(frozen=True)
class Target:
    """The database to work on and the settings to work with."""

    url: str = field(repr=False)
    """With the password in it: never printed."""
    config: MigrationConfig

    @contextmanager
    def connection(self, *, read_only: bool = False) -> Iterator[psycopg.Connection]:
        """Open a connection and close it at the end; what it added to the audit log is anchored first."""
        connection = connect(
            self.url, read_only=read_only, application_name="tenant-migration", pin_path=True
        )
        try:
            yield connection
        finally:
            if not (read_only or connection.closed or connection.broken):
                keep_anchor(connection)
            connection.close()


def place_of(connection: psycopg.Connection) -> str:
    """Return where and as whom we are connected: `database claims on db:5432 as role app`."""
    info = connection.info
    local = not info.host or info.host.startswith("/")
    host = "the local server" if local else f"{info.host}:{info.port}"
    return f"database {info.dbname} on {host} as role {info.user}"


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--config FILE`; the command takes `config_path`."""
    return click.option(
        "--config",
        "config_path",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Configuration file. Default: $TENANT_MIGRATION_CONFIG, else migration.yaml if it is there.",
    )(command)


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--config FILE` and `--quickstart`; the command takes `target`."""

    @config_option
    @click.option(
        "--quickstart",
        "use_sample",
        is_flag=True,
        help="Work on the embedded sample database that `tenant-migration quickstart` made.",
    )
    @functools.wraps(command)
    def with_target(*args: Any, config_path: Path | None, use_sample: bool, **kwargs: Any) -> Any:
        return command(*args, target=resolve_target(config_path, use_sample=use_sample), **kwargs)

    return with_target


def resolve_target(config_path: Path | None, *, use_sample: bool = False) -> Target:
    """Read the configuration and find the database.

    Raises:
        ConfigurationError: the file is wrong.
        UsageError: no database is named.
    """
    if not use_sample:
        config = load_config(config_path)
        return Target(database_url(), config)
    from tenant_migration.quickstart.databases import sample_url  # noqa: PLC0415 - starts the server
    from tenant_migration.quickstart.folders import sample_config_file  # noqa: PLC0415

    own = sample_config_file()
    return Target(sample_url(), load_config(config_path or (own if own.exists() else None)))
