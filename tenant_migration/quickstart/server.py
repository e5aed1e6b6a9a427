"""The embedded PostgreSQL: for the quickstart, the tests and Dagster's default storage only.

It listens on a unix socket that only its own user (and root) may open, since it asks for no password.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tenant_migration.errors import DatabaseUnavailable, Refused
from tenant_migration.quickstart.binaries import SUPPORTED_VERSIONS, program_folder
from tenant_migration.quickstart.folders import open_to_others, socket_folder
from tenant_migration.quickstart.postmaster import disown_stale_pid, is_running
from tenant_migration.quickstart.server_user import ServerUser, server_user

__all__ = ["SUPPORTED_VERSIONS", "EmbeddedServer", "start_server", "stop_server"]

START_TIMEOUT_S = 60
_LOG_TAIL_LINES = 15
_SUPERUSER = "postgres"
_OUTLIVED = "pre-existing shared memory block"
_BACKENDS_END_S = 5
"""Backends of a server that was killed notice it within a moment; until then no other starts."""


@dataclass(frozen=True)
class EmbeddedServer:
    """A running embedded server, listening on a unix socket only."""

    data_folder: Path
    socket_folder: Path
    version: int
    programs: Path
    """Where `psql`, `pg_ctl`, ... of this server are."""

    def uri(self, database: str = "postgres", user: str = _SUPERUSER) -> str:
        """Return a libpq URI for a database and a role of this server."""
        host = quote(str(self.socket_folder), safe="")
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?host={host}"


def start_server(
    data_folder: Path,
    version: int | None = None,
    *,
    keep_running: bool = True,
    settings: Mapping[str, str] | None = None,
    programs: Path | None = None,
) -> EmbeddedServer:
    """Start the server of this folder, making the folder and its cluster when they are not there.

    Args:
        data_folder: the cluster's folder; its parent must exist, and as root be open to all users already.
        version: 16 or 18; None: the folder's own, for a new one the newest.
        keep_running: leave the server up when this process ends.
        settings: of `postgresql.conf`, for this start.
        programs: folder of another PostgreSQL's `initdb` and `pg_ctl`, of this `version`.

    Raises:
        Refused: the folder cannot serve, or holds a cluster of another version.
        DatabaseUnavailable: PostgreSQL did not start; the message ends with its log.
    """
    data_folder = data_folder.resolve()
    user = server_user()
    _check_parent(data_folder.parent, user)
    with _locked(data_folder):
        found = _cluster_version(data_folder)
        if version is not None and found is not None and found != version:
            raise Refused(
                f"{data_folder} holds a cluster of PostgreSQL {found}, not {version}: "
                "name another folder, or remove that one"
            )
        version = version or found or max(SUPPORTED_VERSIONS)
        programs = programs or program_folder(version)
        server = EmbeddedServer(data_folder, socket_folder(data_folder), version, programs)
        if found is None:
            _make_cluster(server, user)
        if not is_running(data_folder):
            _start(server, user, settings or {})
    if not keep_running:
        atexit.register(stop_server, server)
    return server


def stop_server(server: EmbeddedServer) -> None:
    """Stop the server if it runs: open transactions are rolled back, the data stays.

    Raises:
        DatabaseUnavailable: it did not stop.
    """
    if not server.data_folder.exists():
        return
    with _locked(server.data_folder):
        if is_running(server.data_folder):
            _run(server, server_user(), "pg_ctl", ["-w", "-m", "fast", "-D", str(server.data_folder), "stop"])


def _check_parent(parent: Path, user: ServerUser) -> None:
    if not parent.is_dir():
        raise Refused(f"the folder {parent} for the embedded server's data is not there")
    if not user.is_ourselves and not open_to_others(parent):
        raise Refused(
            f"PostgreSQL does not run as root, and the user {user.name} cannot reach {parent}: "
            "name a folder whose parents are open to all users"
        )


@contextmanager
def _locked(data_folder: Path) -> Iterator[None]:
    """Let one process at a time make, start or stop this cluster; the lock ends with its process."""
    with data_folder.with_name(f".{data_folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _cluster_version(data_folder: Path) -> int | None:
    file = data_folder / "PG_VERSION"
    return int(file.read_text().strip()) if file.exists() else None


def _make_cluster(server: EmbeddedServer, user: ServerUser) -> None:
    """Make the cluster beside its folder and move it there whole, so that a kill leaves no half cluster."""
    if server.data_folder.exists() and any(server.data_folder.iterdir()):
        raise Refused(
            f"{server.data_folder} is neither empty nor a cluster of PostgreSQL: name another folder"
        )
    making = server.data_folder.with_name(f".{server.data_folder.name}.new")
    if making.exists():
        shutil.rmtree(making)
    _make_private(making, user)
    arguments = ["-D", str(making), "-U", _SUPERUSER, "--auth=trust", "--encoding=UTF8", "--no-sync"]
    try:  # the same locale on every machine; C knows only the letters of ASCII
        _run(server, user, "initdb", [*arguments, "--locale=C.UTF-8"])
    except DatabaseUnavailable as error:
        if "invalid locale" not in str(error):
            raise
        _run(server, user, "initdb", [*arguments, "--locale=C"])
    making.replace(server.data_folder)


def _make_private(folder: Path, user: ServerUser) -> None:
    """Make a folder for one user; one that is there already must be his and closed to others."""
    try:
        folder.mkdir(mode=0o700)
        if not user.is_ourselves:
            os.chown(folder, user.user_id, user.group_id)
    except FileExistsError:
        found = folder.lstat()
        mine = stat.S_ISDIR(found.st_mode) and found.st_uid == user.user_id
        if not mine or stat.S_IMODE(found.st_mode) & 0o077:
            raise Refused(f"{folder} belongs to somebody else, or others may open it: remove it") from None


def _start(server: EmbeddedServer, user: ServerUser, settings: Mapping[str, str]) -> None:
    disown_stale_pid(server.data_folder, server.socket_folder)
    if server.socket_folder != server.data_folder:
        _make_private(server.socket_folder, user)
    options = {
        "listen_addresses": "",
        "port": "5432",
        "unix_socket_directories": f'"{server.socket_folder}"',
        "unix_socket_permissions": "0700",
        **settings,
    }
    log = server.data_folder / "log"
    arguments = ["-w", "-t", str(START_TIMEOUT_S), "-D", str(server.data_folder), "-l", str(log)]
    given = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in options.items())
    deadline = time.monotonic() + _BACKENDS_END_S
    while True:
        try:
            return _run(server, user, "pg_ctl", [*arguments, "-o", given, "start"])
        except DatabaseUnavailable as error:
            tail = "\n".join(_log_tail(log))
            if _OUTLIVED not in tail or time.monotonic() > deadline:
                raise DatabaseUnavailable(f"{error}\nIts log {log} ends with:\n{tail}") from error
            time.sleep(0.2)


def _log_tail(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:] if log.exists() else []


def _run(server: EmbeddedServer, user: ServerUser, program: str, arguments: Sequence[str]) -> None:
    """Run one of the server's programs as its user.

    Output goes through a file, since the server that pg_ctl leaves behind would hold a pipe open for
    ever. The environment is our own, since PGPORT, PGDATA and the like would change what the programs do.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        try:
            code = subprocess.call(  # noqa: S603 - the embedded package's own programs
                [str(server.programs / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={"PATH": os.defpath, "LC_ALL": "C"},
                user=None if user.is_ourselves else user.user_id,
                group=None if user.is_ourselves else user.group_id,
                extra_groups=None if user.is_ourselves else [],
            )
        except OSError as error:
            raise DatabaseUnavailable(
                f"{program} of the embedded PostgreSQL cannot be run: {error}"
            ) from error
        if code != 0:
            output.seek(0)
            raise DatabaseUnavailable(
                f"{program} of the embedded PostgreSQL {server.version} failed for {server.data_folder} "
                f"(exit code {code}): {output.read().strip()}"
            )
