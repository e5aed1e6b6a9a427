"""The databases on the embedded server: the sample's, and Dagster's storage. Each has an owner of its own.

The owners are NOSUPERUSER NOBYPASSRLS, as the roles are that a real migration runs as.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from tenant_migration.errors import Refused
from tenant_migration.quickstart.folders import cluster_folder, ensure_dagster_home
from tenant_migration.quickstart.postmaster import is_running
from tenant_migration.quickstart.sample import find_sample
from tenant_migration.quickstart.server import EmbeddedServer, start_server, stop_server

SAMPLE_DATABASE = "union_claims"
DAGSTER_DATABASE = "dagster"

_MADE_BY = "made by tenant-migration quickstart"
_SETTINGS = {
    "max_connections": "200",  # Dagster opens a connection for each of its statements
    "synchronous_commit": "off",  # nothing here outlives a crash of the machine by more than a moment
}


def quickstart_server() -> EmbeddedServer:
    """Start the embedded server, when it does not run yet, and leave it running.

    Raises:
        Refused: its folder cannot be made.
        DatabaseUnavailable: it does not start.
    """
    ensure_dagster_home()
    folder = cluster_folder()
    if not folder.parent.exists():  # root's, where Dagster's home is closed to the server's user
        folder.parent.mkdir()
        folder.parent.chmod(0o711)
    return start_server(folder, settings=_SETTINGS)


def stop_quickstart_server() -> bool:
    """Stop the embedded server, if it runs; say whether it did."""
    folder = cluster_folder()
    if not is_running(folder.resolve()):
        return False
    stop_server(start_server(folder))
    return True


def dagster_storage_url() -> str:
    """Return the libpq URI of Dagster's storage on the embedded server, making the database when needed."""
    server = quickstart_server()
    ensure_database(server, DAGSTER_DATABASE)
    return server.uri(DAGSTER_DATABASE, DAGSTER_DATABASE)


def sample_url() -> str:
    """Return the libpq URI of the sample, starting its server.

    Raises:
        Refused: `quickstart` did not make it yet.
    """
    server = quickstart_server()
    url = server.uri(SAMPLE_DATABASE, SAMPLE_DATABASE)
    if not _exists(server, SAMPLE_DATABASE) or find_sample(url) is None:
        raise Refused("the sample is not there yet: run tenant-migration quickstart")
    return url


def ensure_database(server: EmbeddedServer, name: str) -> None:
    """Make a database and its owner of the same name, when they are not there."""
    with psycopg.connect(server.uri(), autocommit=True) as connection:
        # CREATE DATABASE allows no transaction: the lock is the session's, and ends with the connection
        connection.execute("SELECT pg_advisory_lock(hashtext('tenant_migration quickstart'))")
        identifier = sql.Identifier(name)
        if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchall():
            create = sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE")
            connection.execute(create.format(identifier))
        if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchall():
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(identifier, identifier))
            comment = sql.SQL("COMMENT ON DATABASE {} IS {}")
            connection.execute(comment.format(identifier, sql.Literal(_MADE_BY)))


def drop_sample_database(server: EmbeddedServer) -> bool:
    """Drop the sample's database, if it is there and the quickstart's; say whether it was there.

    Raises:
        Refused: a database of this name is there that the quickstart did not make.
    """
    with psycopg.connect(server.uri(), autocommit=True) as connection:
        row = connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
            [SAMPLE_DATABASE],
        ).fetchone()
        if row is None:
            return False
        if row[0] != _MADE_BY:
            raise Refused(f"the database {SAMPLE_DATABASE} was not made by the quickstart: drop it yourself")
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
        connection.execute(drop.format(sql.Identifier(SAMPLE_DATABASE)))
        return True


def _exists(server: EmbeddedServer, name: str) -> bool:
    with psycopg.connect(server.uri(), autocommit=True) as connection:
        found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchall()
    return bool(found)
