"""Whether a cluster's server runs, judged by its process and not by the number in a file alone."""

from __future__ import annotations

import subprocess
from pathlib import Path


def is_running(data_folder: Path) -> bool:
    """Say whether the server of this cluster runs."""
    pid = recorded_pid(data_folder)
    return pid is not None and _names(_command_of(pid), data_folder)


def remove_stale_pid_file(data_folder: Path) -> None:
    """Remove the file of a server that is gone when its number now belongs to another program.

    After a restart of the machine or of a container numbers repeat; PostgreSQL would refuse for ever.
    """
    pid = recorded_pid(data_folder)
    command = _command_of(pid) if pid is not None else ""
    if command and not _names(command, data_folder):
        (data_folder / "postmaster.pid").unlink()


def recorded_pid(data_folder: Path) -> int | None:
    """Return the process number that the cluster's last server wrote, None when it was stopped."""
    try:
        return int((data_folder / "postmaster.pid").read_text().split(maxsplit=1)[0])
    except (FileNotFoundError, IndexError):
        return None


def _names(command: str, data_folder: Path) -> bool:
    """Say whether a server's command line ends an argument with this folder, and not with a longer name."""
    return f" {data_folder} " in f" {command} "


def _command_of(pid: int) -> str:
    """Return a process's command line; empty: no such process, or another user's hidden one."""
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
