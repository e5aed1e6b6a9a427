"""Who runs the embedded server: ourselves, or, since PostgreSQL refuses root, a user of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass

from tenant_migration.errors import Refused
from tenant_migration.quickstart.folders import is_root

SERVER_USER = "pgserver"
"""The name that the embedded package itself uses as root."""


@dataclass(frozen=True)
class ServerUser:
    """A user of the operating system."""

    name: str
    user_id: int
    group_id: int

    @property
    def is_ourselves(self) -> bool:
        """Whether programs can be run without changing the user."""
        return self.user_id == os.geteuid()


def server_user() -> ServerUser:
    """Return the user that the embedded server runs as, making it when root has none yet.

    Raises:
        Refused: there is none and none can be made.
    """
    if is_root():
        return _look_up(SERVER_USER) or _create()
    try:
        entry = pwd.getpwuid(os.geteuid())
    except KeyError:
        raise Refused(
            f"user {os.geteuid()} has no entry in the password file, which PostgreSQL needs to start: "
            "run as a named user, or set TENANT_MIGRATION_DATABASE_URL and TENANT_MIGRATION_DAGSTER_URL "
            "to servers of your own"
        ) from None
    return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _look_up(name: str) -> ServerUser | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _create() -> ServerUser:
    program = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise Refused(
            f"PostgreSQL does not run as root and there is no useradd to make the user {SERVER_USER}: "
            "make it, or run as an ordinary user"
        )
    result = subprocess.run(  # noqa: S603 - a fixed command
        [program, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SERVER_USER],
        capture_output=True,
        text=True,
        check=False,
    )
    created = _look_up(SERVER_USER)  # also when another process was faster and useradd failed for that
    if created is None:
        raise Refused(
            f"PostgreSQL does not run as root and the user {SERVER_USER} could not be made: "
            f"{result.stderr.strip()}; make it, or run as an ordinary user"
        )
    return created
