"""Whether a cluster's server runs, judged by its process and not by the number in a file alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tenant_migration.quickstart.folders import SOCKET_NAME

_NO_PROCESS = 4_194_305
"""Above the largest number that a process can have on Linux."""


def is_running(data_folder: Path) -> bool:
    """Say whether the server of this cluster runs."""
    pid = recorded_pid(data_folder)
    return pid is not None and _names(_command_of(pid), data_folder)


def disown_stale_pid(data_folder: Path, socket_folder: Path) -> None:
    """Take the number of a server that is gone out of its files when another process, or a zombie, has it.

    After a restart of the machine or of a container numbers repeat; PostgreSQL would refuse for ever. Only
    the number is replaced: by the rest it still sees backends that outlived their server.
    """
    if is_running(data_folder):
        return
    for file in (data_folder / "postmaster.pid", socket_folder / f"{SOCKET_NAME}.lock"):
        pid = _number_in(file)
        if pid is not None and _exists(pid):
            _, rest = file.read_text().split("\n", maxsplit=1)
            file.write_text(f"{_NO_PROCESS}\n{rest}")


def recorded_pid(data_folder: Path) -> int | None:
    """Return the process number that the cluster's last server wrote, None when it was stopped."""
    return _number_in(data_folder / "postmaster.pid")


def _number_in(file: Path) -> int | None:
    try:
        return int(file.read_text().split(maxsplit=1)[0])
    except (FileNotFoundError, IndexError):
        return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):  # of another user's PostgreSQL says the same
        return False
    return True


def _names(command: str, data_folder: Path) -> bool:
    """Say whether a server's command line ends an argument with this folder, and not with a longer name."""
    return f" {data_folder} " in f" {command} "


def _command_of(pid: int) -> str:
    """Return a process's command line; empty: no such process, a zombie, or another user's hidden one."""
    proc = Path("/proc")
    if (proc / "self").exists():
        try:
            return (proc / str(pid) / "cmdline").read_text(errors="replace").replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return ""
    listing = subprocess.run(  # noqa: S603 - a number
        ["ps", "-ww", "-o", "command=", "-p", str(pid)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return listing.stdout.strip()
