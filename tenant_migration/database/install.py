"""Installs and upgrades `sql/` in the database, and refuses to work without it.

Belongs here: what `psql -f sql/install.sql` does, from Python, with the values of the configuration.
"""

from __future__ import annotations

import time

import psycopg

from tenant_migration.config import MigrationConfig
from tenant_migration.database import audit, sql_files
from tenant_migration.database.connection import check_server, transaction
from tenant_migration.errors import NotInstalled, Refused

_LOCK_TIMEOUT_MS = 5_000
"""The reference to the organizations locks a table that the application uses: give up before it queues up."""
_STATEMENT_TIMEOUT_MS = 300_000

_REQUIREMENT = "TM001"
"""SQLSTATE of a requirement that does not hold (sql/005_requirements.sql, sql/010_schema.sql)."""

_FIND_SETTINGS = """
    SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
           AND (NOT pg_catalog.row_security_active(c.oid) OR EXISTS (
               SELECT FROM pg_catalog.pg_policy p, unnest(p.polroles) AS group_role
               WHERE p.polrelid = c.oid AND pg_catalog.pg_has_role(group_role, 'USAGE')))
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'tenant_migration' AND c.relname = 'settings'
"""
"""Whether this role may read it, and not only an empty part of it: a grant without a policy shows no row."""
_RUN_INSTALL = "run `tenant-migration install`"


def install(connection: psycopg.Connection, config: MigrationConfig, *, actor: str | None = None) -> None:
    """Install or upgrade, in one transaction: afterwards everything is there, or nothing changed.

    Args:
        connection: as the database's owner.
        config: names the organizations and the interface schema.
        actor: for the audit record, which is part of the transaction; None: none is written.

    Raises:
        UnsupportedServer: too old, or a standby.
        Refused: a requirement does not hold (organizations missing or without a uuid key, rights missing,
            installed for another interface schema); the message names it and the next step.
    """
    check_server(connection, writes=True)
    variables = _variables(config)
    current, started = "", time.monotonic()
    try:
        with transaction(
            connection, lock_timeout_ms=_LOCK_TIMEOUT_MS, statement_timeout_ms=_STATEMENT_TIMEOUT_MS
        ):
            for file in sql_files.installation_files():
                current = file.name
                connection.execute(
                    sql_files.fill_in(file.read_text(encoding="utf-8"), variables).encode(
                        connection.info.encoding
                    )
                )
            if actor is not None:
                current = "070_audit.sql"
                took_ms = (time.monotonic() - started) * 1000
                audit.record(
                    connection, operation="install", actor=actor, outcome="completed", duration_ms=took_ms
                )
    except psycopg.Error as error:
        raise _refusal(connection, current, error) from error


def render(config: MigrationConfig) -> str:
    """Return the whole installation as one script that any client can run."""
    variables = _variables(config)
    parts = [
        f"-- {file.name}\n{sql_files.fill_in(file.read_text(encoding='utf-8'), variables)}"
        for file in sql_files.installation_files()
    ]
    return "\n".join(["BEGIN;", *parts, "COMMIT;", ""])


def require_installed(connection: psycopg.Connection, config: MigrationConfig | None = None) -> None:
    """Refuse to go on without the private schema of this release.

    Args:
        connection: to the database.
        config: when given, its interface schema must be the installed one.

    Raises:
        NotInstalled: missing, or of an earlier release; the next step is `install`.
        Refused: of a later release, not readable by this role, or installed for another interface schema.
    """
    database = connection.info.dbname
    found = connection.execute(_FIND_SETTINGS).fetchone()
    if found is None:
        raise NotInstalled(f"tenant_migration is not installed in database {database}; {_RUN_INSTALL}")
    if not found[0]:
        raise Refused(
            f"role {connection.info.user} may not read schema tenant_migration of database {database}; "
            "connect as the role that installed it or as a member of that role; to read the status "
            "tenant_migration_reader is enough, where an administrator made that role (sql/administrator.sql)"
        )
    with transaction(connection, read_only=True, row_security=True):
        row = connection.execute(
            "SELECT schema_version, interface_schema FROM tenant_migration.settings"
        ).fetchone()
    if row is None:
        raise NotInstalled(f"the installation in database {database} is incomplete; {_RUN_INSTALL}")
    installed_version, interface_schema = row
    expected = sql_files.schema_version()
    if installed_version < expected:
        raise NotInstalled(
            f"database {database} holds version {installed_version} of tenant_migration's schema, "
            f"this release needs {expected}; {_RUN_INSTALL}, which upgrades it"
        )
    if installed_version > expected:
        raise Refused(
            f"database {database} was upgraded by a later release (schema version {installed_version}, "
            f"this one knows {expected}); upgrade the package tenant-migration here"
        )
    if config is not None and interface_schema != config.interface_schema:
        raise Refused(
            f"tenant_migration is installed in database {database} with interface_schema {interface_schema}, "
            f"the configuration says {config.interface_schema}; set interface_schema: {interface_schema}"
        )


def _variables(config: MigrationConfig) -> dict[str, str]:
    organizations = config.organizations
    schema, dot, table = organizations.table.partition(".")
    if not dot:
        schema, table = config.interface_schema, organizations.table
    keys = ",".join(
        '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in config.tenant_key_columns
    )
    return {
        "schema_version": str(sql_files.schema_version()),
        "interface_schema": config.interface_schema,
        "organizations_schema": schema,
        "organizations_table": table,
        "organizations_id": organizations.id,
        "organizations_parent_id": organizations.parent_id,
        "organization_column": config.organization_column,
        "tenant_key_columns": "{" + keys + "}",
    }


def _refusal(connection: psycopg.Connection, file: str, error: psycopg.Error) -> Refused:
    message = error.diag.message_primary or str(error)
    hint = f" {error.diag.message_hint}" if error.diag.message_hint else ""
    if error.sqlstate == _REQUIREMENT:
        return Refused(f"{message}.{hint}")
    role = connection.info.user
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return Refused(
            f"role {role} lacks a right that the installation needs ({message}, in sql/{file}); "
            "install as the database's owner, or as the role that installed it before"
        )
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return Refused(
            f"the installation waited {_LOCK_TIMEOUT_MS} ms for a lock in sql/{file} and gave up, nothing "
            "changed; something long runs on the organizations: try again when it is done"
        )
    return Refused(f"the installation failed in sql/{file}, nothing changed: {message}.{hint}")
