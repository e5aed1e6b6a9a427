"""Where Dagster keeps its runs and events: a PostgreSQL database of its own.

Belongs here: finding that database from the environment, and refusing the one that is migrated.
`dagster.yaml` names the class below, so that every process finds the same storage without another variable:
the command line, the webserver, the daemon, a run's worker.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import conninfo
from sqlalchemy.engine import URL

from tenant_migration.config import DAGSTER_URL_VARIABLE, DATABASE_URL_VARIABLE
from tenant_migration.database.connection import connect, password_went_astray
from tenant_migration.errors import DatabaseUnavailable, Refused, UsageError
from tenant_migration.orchestration.compat import (
    ConfigurableClassData,
    DagsterPostgresStorage,
    UserConfigSchema,
)
from tenant_migration.quickstart.databases import dagster_storage_url
from tenant_migration.quickstart.folders import cluster_folder

_log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10
_DEFAULT_PORT = "5432"

_IDENTITY = """
    SELECT pg_catalog.pg_postmaster_start_time(), oid
    FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
"""


class SharedStorage(DagsterPostgresStorage):
    """Dagster's PostgreSQL storage at `TENANT_MIGRATION_DAGSTER_URL`, else in the embedded server."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Return what `dagster.yaml` may say."""
        return {"scheme": str}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, object]
    ) -> SharedStorage:
        """Open the storage, making its tables when they are not there.

        Raises:
            DatabaseUnavailable: it cannot be reached.
            Refused: it is the database that is migrated.
        """
        url = storage_url()
        _reach(url)
        database_url = os.environ.get(DATABASE_URL_VARIABLE)
        if database_url:
            _refuse_same_database_if_reachable(database_url)
        return cls(postgres_url=sqlalchemy_url(url, str(config_value["scheme"])), inst_data=inst_data)


def storage_url() -> str:
    """Return the libpq URI of Dagster's storage; starts the embedded server when that is where it is."""
    return os.environ.get(DAGSTER_URL_VARIABLE) or dagster_storage_url()


def storage_exists() -> bool:
    """Say whether Dagster has, or may have, a storage already: without one it never ran anything."""
    return bool(os.environ.get(DAGSTER_URL_VARIABLE)) or cluster_folder().exists()


def describe_storage() -> str:
    """Return where Dagster's storage is, without credentials, as a sentence."""
    url = os.environ.get(DAGSTER_URL_VARIABLE)
    if not url:
        where = f"the embedded server in {cluster_folder()}"
        return f"Dagster's storage: {where} ({DAGSTER_URL_VARIABLE} is not set)"
    host, port, database = _address(url)
    return f"Dagster's storage: host {host or '(local)'}, port {port}, database {database}"


def refuse_same_database(database_url: str) -> None:
    """Raise Refused when Dagster's storage is the database that is migrated.

    The names in two URIs can differ and still mean one database (an address, an alias, a socket), so the
    servers are asked: the moment the server started, to the microsecond, and the database's number.

    Raises:
        Refused: they are the same.
        DatabaseUnavailable: one of the two cannot be reached; the message says which.
    """
    with _connect(storage_url()) as storage, connect(database_url) as database:
        if _identity(storage) == _identity(database):
            raise Refused(
                "Dagster's storage and the database to migrate are the same: point "
                f"{DAGSTER_URL_VARIABLE} at a database of its own, or unset it to use the embedded server"
            )


def sqlalchemy_url(url: str, scheme: str) -> str:
    """Return a libpq URI, of a unix socket too, in SQLAlchemy's form, with its driver spelled out."""
    parameters = _parse(url)
    known = {
        "username": parameters.pop("user", None),
        "password": parameters.pop("password", None),
        "database": parameters.pop("dbname", None),
    }
    return URL.create(scheme, query=parameters, **known).render_as_string(hide_password=False)


def _refuse_same_database_if_reachable(database_url: str) -> None:
    """As `refuse_same_database`; the UI and the daemon start while the database to migrate is down."""
    try:
        refuse_same_database(database_url)
    except DatabaseUnavailable as error:
        _log.warning("not checked that Dagster's storage is another database: %s", error)


def _reach(url: str) -> None:
    """Fail at once and clearly: Dagster would try five times and show a stack of its own."""
    with _connect(url):
        pass


def _identity(connection: psycopg.Connection) -> tuple[Any, ...] | None:
    return connection.execute(_IDENTITY).fetchone()


def _connect(url: str) -> psycopg.Connection:
    parameters = {"connect_timeout": CONNECT_TIMEOUT_S, **_parse(url)}
    try:
        return psycopg.connect(**parameters, autocommit=True)
    except psycopg.OperationalError as error:
        host, port, database = _address(url)
        cause = " ".join(str(error).split())
        password = parameters.get("password")
        if password:
            cause = cause.replace(str(password), "***")
        raise DatabaseUnavailable(
            f"cannot reach host {host or '(local)'}, port {port}, database {database}: {cause}; "
            f"Dagster records every migration there ({DAGSTER_URL_VARIABLE}; unset: the embedded server)"
        ) from None


def _address(url: str) -> tuple[str, str, str]:
    parameters = _parse(url)
    database = parameters.get("dbname") or parameters.get("user") or ""
    return (parameters.get("host", ""), str(parameters.get("port") or _DEFAULT_PORT), database)


def _parse(url: str) -> dict[str, Any]:
    advice = (
        "write it as postgresql://user:password@host:5432/database, "
        "with @ : / ? # % in the password percent-encoded"
    )
    try:
        parameters: dict[str, Any] = dict(conninfo.conninfo_to_dict(url))
    except psycopg.ProgrammingError:  # its message quotes what it could not read: perhaps the password
        raise UsageError(f"{DAGSTER_URL_VARIABLE} cannot be read; {advice}") from None
    if password_went_astray(parameters):
        raise UsageError(f"{DAGSTER_URL_VARIABLE} cannot be what was meant; {advice}")
    return parameters
