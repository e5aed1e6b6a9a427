"""Writes all mappings to a file that `csv_import` reads back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

import psycopg

from tenant_migration.config import MigrationConfig
from tenant_migration.errors import UsageError
from tenant_migration.mapping.csv_format import render_mappings
from tenant_migration.mapping.repository import list_mappings


def export_mappings(
    connection: psycopg.Connection, config: MigrationConfig, path: Path, status: str | None = None
) -> int:
    """Write the mappings to `path`, sorted by tenant; only those in `status` when it is given.

    Returns:
        How many.

    Raises:
        UsageError: the file cannot be written.
    """
    mappings = list_mappings(connection, config, status)
    write_mappings_file(path, ((mapping.tenant_id, mapping.organization_id) for mapping in mappings))
    return len(mappings)


def write_mappings_file(path: Path, mappings: Iterable[tuple[str, UUID]]) -> None:
    """Write these mappings in the import's format.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        path.write_text(render_mappings(mappings), encoding="utf-8", newline="")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
