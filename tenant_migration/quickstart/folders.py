"""Where our files live on this machine: Dagster's home, the embedded cluster, its socket, the sample's files.

An ordinary user has everything below `~/.tenant_migration`, closed to others. PostgreSQL refuses to run as
root, so root's cluster belongs to another user, who must be able to walk to it: root's files are therefore
below a folder whose parents are public already, and no folder is ever opened for it.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from tenant_migration.errors import ConfigurationError, Refused

HOME_VARIABLE = "DAGSTER_HOME"
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_MAX_BYTES = 100
"""Below the shortest limit of a unix socket's path (103 bytes on macOS, 107 on Linux)."""

_PUBLIC_PARENTS = (Path("/var/lib"), Path("/var/tmp"))  # noqa: S108 - root's; ownership is checked on use
_NAME = "tenant_migration"


def is_root() -> bool:
    """Say whether this process runs as root."""
    return os.geteuid() == 0


def dagster_home() -> Path:
    """Return Dagster's home: `DAGSTER_HOME`, else `~/.tenant_migration`, as root a public folder's.

    Raises:
        ConfigurationError: `DAGSTER_HOME` is not absolute, or this user has no home.
    """
    named = os.environ.get(HOME_VARIABLE)
    if named:
        path = Path(named).expanduser()
        if not path.is_absolute():
            raise ConfigurationError(f"{HOME_VARIABLE} must be an absolute path, not {named!r}")
        return path
    if is_root():
        return public_folder()
    try:
        return Path.home() / f".{_NAME}"
    except RuntimeError as error:
        raise ConfigurationError(
            f"user {os.geteuid()} has no home folder: set {HOME_VARIABLE} to a folder of yours"
        ) from error


def ensure_dagster_home() -> Path:
    """Make Dagster's home when it is not there, closed to other users, and return it.

    As root others may walk through it, since the cluster below belongs to another user, but not list it.

    Raises:
        Refused: it cannot be made or written.
    """
    home = dagster_home()
    try:
        if not home.exists():
            home.mkdir(parents=True)
            home.chmod(0o711 if is_root() else 0o700)
    except OSError as error:
        raise Refused(
            f"the folder {home} cannot be made: {error.strerror}; set {HOME_VARIABLE} to a folder of yours"
        ) from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise Refused(f"the folder {home} cannot be written by you; set {HOME_VARIABLE} to a folder of yours")
    return home


def public_folder() -> Path:
    """Return root's folder whose parents every user may walk through.

    Raises:
        Refused: no parent serves.
    """
    for parent in _PUBLIC_PARENTS:
        if parent.is_dir() and open_to_others(parent) and os.access(parent, os.W_OK):
            return parent / _NAME
    tried = " and ".join(str(parent) for parent in _PUBLIC_PARENTS)
    raise Refused(f"{tried} are not open to all users: set {HOME_VARIABLE} to a folder below public parents")


def open_to_others(folder: Path) -> bool:
    """Say whether every user may walk to and into this folder as it is."""
    resolved = folder.resolve()
    return all(step.stat().st_mode & stat.S_IXOTH for step in (resolved, *resolved.parents))


def cluster_folder() -> Path:
    """Return the embedded cluster's folder: below Dagster's home, as root where its own user can reach it."""
    home = dagster_home()
    if not is_root() or _reachable(home):
        return home / "postgresql"
    return public_folder() / f"postgresql-{_hash(home)}"


def _reachable(folder: Path) -> bool:
    """Say whether others can walk through a folder, or could when we make it."""
    existing = next(step for step in (folder, *folder.parents) if step.exists())
    return open_to_others(existing)


def socket_folder(data_folder: Path) -> Path:
    """Return the folder of a cluster's socket: its own, or a short one where that path would be too long."""
    data_folder = data_folder.resolve()
    if len(os.fsencode(data_folder / SOCKET_NAME)) < SOCKET_PATH_MAX_BYTES:
        return data_folder
    name = f"tm-{os.geteuid()}-{_hash(data_folder)}"
    candidates = (Path(tempfile.gettempdir()).resolve() / name, Path("/tmp") / name)  # noqa: S108 - made 0700
    return next(
        folder for folder in candidates if len(os.fsencode(folder / SOCKET_NAME)) < SOCKET_PATH_MAX_BYTES
    )


def _hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:12]


def sample_folder() -> Path:
    """Return the folder of the sample's own files: its `migration.yaml`, its `mappings.csv`, its reports."""
    return dagster_home() / "quickstart"


def sample_config_file() -> Path:
    """Return the configuration file that `--quickstart` uses."""
    return sample_folder() / "migration.yaml"


def sample_mappings_file() -> Path:
    """Return the file of mappings that the quickstart imports, as a user would."""
    return sample_folder() / "mappings.csv"
