"""Real PostgreSQL servers for the tests: the embedded 16 and 18, and the machine's own where it has one.

Each process of a test run has servers of its own, started when first asked for and stopped at its end.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from tenant_migration.quickstart.server import (
    SUPPORTED_VERSIONS,
    EmbeddedServer,
    start_server,
    stop_server,
)

OWNER = "app_owner"
"""Owns every test database: NOSUPERUSER NOBYPASSRLS, since superusers hide row-level-security bugs."""

VERSIONS_VARIABLE = "TENANT_MIGRATION_TEST_SERVERS"
"""Major versions to test on, for example `15,18`; default the embedded ones."""

_FOLDER_PREFIX = "tmt-"
_ON_DISK, _IN_MEMORY = Path("/tmp"), Path("/dev/shm")
"""Short, for the socket, and open to the user who runs the server when we are root."""
_ENOUGH_BYTES = 4 * 2**30
"""Of free memory file system: a run's servers together use less than half of it."""
_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "128MB",
}
"""Nobody needs these clusters after a crash, and they have to stay small."""

_database_numbers = itertools.count()


@dataclass(frozen=True)
class Server:
    """A running server with the owner role."""

    embedded: EmbeddedServer
    _templates: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def version(self) -> int:
        return self.embedded.version

    def superuser_url(self, database: str = "postgres") -> str:
        return self.embedded.uri(database)

    def url(self, database: str, role: str = OWNER) -> str:
        return self.embedded.uri(database, role)

    def create_database(self, template: str = "template1") -> str:
        """Create a database owned by the owner role, empty or a copy of another; return its name."""
        name = f"test_{next(_database_numbers)}"
        with psycopg.connect(self.superuser_url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY file_copy").format(
                    sql.Identifier(name), sql.Identifier(OWNER), sql.Identifier(template)
                )
            )
        return name

    def template(self, name: str, fill: Callable[[str], None]) -> str:
        """Return the name of a database to copy, filled when it is first asked for.

        Args:
            name: what it is called among this server's templates.
            fill: fills the empty database whose URL it is given, as the owner; leaves no connection open.
        """
        if name not in self._templates:
            database = self.create_database()
            fill(self.url(database))
            self._templates[name] = database
        return self._templates[name]

    def end_sessions(self, name: str) -> None:
        """End what is still connected to a database, so that it can be copied."""
        with psycopg.connect(self.superuser_url(), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name]
            )

    def drop_database(self, name: str) -> None:
        with psycopg.connect(self.superuser_url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


@dataclass
class Servers:
    """The servers of this process."""

    _folder: Path | None = None
    _running: dict[int, Server] = field(default_factory=dict)

    def get(self, version: int) -> Server:
        """Return the server of this major version, starting it when it is not there yet."""
        if version not in self._running:
            self._running[version] = self._start(version)
        return self._running[version]

    def _start(self, version: int) -> Server:
        if self._folder is None:
            _remove_leftovers()
            prefix = f"{_FOLDER_PREFIX}{os.getpid()}-"
            self._folder = Path(tempfile.mkdtemp(prefix=prefix, dir=_parent_folder()))
            self._folder.chmod(0o711)  # as root another user runs the server
        embedded = start_server(
            self._folder / str(version),
            version,
            settings=_SETTINGS,
            programs=None if version in SUPPORTED_VERSIONS else system_programs()[version],
        )
        with psycopg.connect(embedded.uri(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS").format(sql.Identifier(OWNER))
            )
        with psycopg.connect(embedded.uri("template1"), autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(sql.Identifier(OWNER)))
        return Server(embedded)

    def stop(self) -> None:
        """Stop all and remove their data."""
        for server in self._running.values():
            stop_server(server.embedded)
        self._running.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None


def _parent_folder() -> Path:
    """Return where the clusters go: into memory if there is enough, as each test copies a database."""
    usable = _IN_MEMORY.is_dir() and os.access(_IN_MEMORY, os.W_OK)
    return _IN_MEMORY if usable and shutil.disk_usage(_IN_MEMORY).free > _ENOUGH_BYTES else _ON_DISK


def _remove_leftovers() -> None:
    """Stop and remove what a test run that was killed left behind."""
    for folder in [*_ON_DISK.glob(f"{_FOLDER_PREFIX}*"), *_IN_MEMORY.glob(f"{_FOLDER_PREFIX}*")]:
        owner = folder.name.removeprefix(_FOLDER_PREFIX).partition("-")[0]
        ours = folder.stat().st_uid == os.geteuid()
        if not ours or not owner.isdigit() or Path(f"/proc/{owner}").exists():
            continue
        for version_file in folder.glob("*/PG_VERSION"):
            data_folder = version_file.parent
            stop_server(EmbeddedServer(data_folder, data_folder, 0, _programs_of(data_folder)))
        shutil.rmtree(folder, ignore_errors=True)


def _programs_of(data_folder: Path) -> Path:
    """Return the programs that last started a cluster, by its own record."""
    command = (data_folder / "postmaster.opts").read_text().split(maxsplit=1)[0]
    return Path(command.strip('"')).parent


def system_programs() -> dict[int, Path]:
    """Return the machine's own installations of PostgreSQL that the embedded package does not carry."""
    folders = set(Path("/usr/lib/postgresql").glob("*/bin"))
    pg_config = shutil.which("pg_config")
    if pg_config:
        folders.add(Path(subprocess.check_output([pg_config, "--bindir"], text=True).strip()))
    found = {}
    for folder in sorted(folders):
        if not (folder / "initdb").exists() or not (folder / "pg_ctl").exists():
            continue
        text = subprocess.check_output([folder / "pg_ctl", "--version"], text=True)
        major = int(text.split()[-1].partition(".")[0])
        if major >= 15 and major not in SUPPORTED_VERSIONS:
            found[major] = folder
    return found


def tested_versions() -> list[int]:
    """Return the major versions that every test of the database runs on."""
    named = os.environ.get(VERSIONS_VARIABLE)
    return [int(version) for version in named.split(",")] if named else list(SUPPORTED_VERSIONS)
