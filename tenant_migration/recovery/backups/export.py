"""Writes a backup to a folder: one COPY BINARY file a table, and a manifest with their checksums.

Under a temporary name, flushed to the disk, then renamed: a folder with the final name is whole. Its writer
holds the temporary one locked: the next export or cleanup knows one whose writer died, and removes it.
Loaded again with `COPY a_table (columns of the manifest) FROM ... (FORMAT binary)`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timezone
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tenant_migration.backfill import failpoints
from tenant_migration.database.connection import transaction
from tenant_migration.errors import OperationFailed, Refused
from tenant_migration.recovery.backups.copy_sql import SCHEMA, export_rows
from tenant_migration.recovery.results import BackedUpTable, Backup

_log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
_FINISHED = "backup_"
_UNFINISHED = ".unfinished-backup_"
_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600
"""Nobody but the user who exports may read the rows."""


def refuse_unusable_directory(directory: Path) -> None:
    """Raise Refused before anything is made when the directory cannot be written to."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"directory {directory} cannot be made: {error.strerror}. Name another one") from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise Refused(f"directory {directory} cannot be written to. Name another one, or mend its rights")


def export_backup(connection: psycopg.Connection, backup: Backup, database: str, directory: Path) -> Path:
    """Write the files and return their folder.

    Raises:
        OperationFailed: they could not be written; the backup itself stays in the database.
    """
    clear_unfinished(directory)
    name = folder_name(backup, database)
    unfinished, final = directory / f"{_UNFINISHED}{name.removeprefix(_FINISHED)}", directory / name
    try:
        unfinished.mkdir(mode=_PRIVATE_FOLDER)
        with _locked(unfinished):
            try:
                _write(connection, backup, database, unfinished)
                failpoints.reach(failpoints.BACKUP_FILES_WRITTEN)
                unfinished.rename(final)
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
        _flush_folder(directory)
    except (OSError, psycopg.Error) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise OperationFailed(
            f"backup {backup.backup_id} is complete in the database, but could not be exported to "
            f"{directory}: {' '.join(str(cause).split())}"
        ) from error
    failpoints.reach(failpoints.BACKUP_EXPORTED)
    return final


def clear_unfinished(directory: Path) -> None:
    """Remove what exports whose process died left in a directory."""
    for folder in directory.glob(f"{_UNFINISHED}*"):
        try:
            with _locked(folder):
                shutil.rmtree(folder)
        except FileNotFoundError:
            continue  # renamed, or removed by another one, at this moment
        except BlockingIOError:
            continue  # its writer is alive
        except OSError as error:
            _log.warning("%s: an unfinished export could not be removed: %s", folder, error.strerror)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the operating system releases when this process ends.

    Raises:
        BlockingIOError: somebody else holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def folder_name(backup: Backup, database: str) -> str:
    """Return the folder's name: database, time and number, without characters that a file system minds."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", database)[:100]
    return (
        f"{_FINISHED}{plain}_{backup.created_at.astimezone(timezone.utc):%Y%m%dT%H%M%SZ}_{backup.backup_id}"
    )


def _write(connection: psycopg.Connection, backup: Backup, database: str, folder: Path) -> None:
    """Write every file into the folder, down to the disk."""
    tables = [_export_table(connection, backup, table, folder) for table in backup.tables]
    _write_manifest(folder / MANIFEST, _manifest(backup, database, tables))
    _flush_folder(folder)


def _export_table(
    connection: psycopg.Connection, backup: Backup, table: BackedUpTable, folder: Path
) -> dict[str, Any]:
    file = folder / f"table_{table.table_id}.copy"
    digest, size = hashlib.sha256(), 0
    with transaction(connection, read_only=True, statement_timeout_ms=0):
        columns = _columns(connection, table)
        names = [column["name"] for column in columns]
        query = export_rows(names, table.relation, table.backup_column, backup.backup_id)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
        with os.fdopen(descriptor, "wb") as stream, connection.cursor().copy(query) as rows:
            for part in rows:
                stream.write(part)
                digest.update(part)
                size += len(part)
            stream.flush()
            os.fsync(stream.fileno())
    return {
        "table": table.table,
        "file": file.name,
        "rows": table.rows,
        "bytes": size,
        "sha256": digest.hexdigest(),
        "checksum": table.checksum,
        "checksum_formula": table.checksum_formula,
        "columns": columns,
    }


def _columns(connection: psycopg.Connection, table: BackedUpTable) -> list[dict[str, str]]:
    """Return the copied columns and their types, in order, without the backup's number."""
    rows = connection.execute(
        "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod) FROM pg_attribute AS a"
        " WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped"
        " AND a.attname IS DISTINCT FROM %s ORDER BY a.attnum",
        (sql.Identifier(SCHEMA, table.relation).as_string(connection), table.backup_column),
    ).fetchall()
    return [{"name": name, "type": type_text} for name, type_text in rows]


def _manifest(backup: Backup, database: str, tables: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "backup": backup.backup_id,
        "database": database,
        "tenants": None if backup.tenants is None else list(backup.tenants),
        "created_at": backup.created_at.isoformat(),
        "created_by": backup.created_by,
        "tool_version": backup.tool_version,
        "lsn": backup.lsn,
        "snapshot": backup.snapshot,
        "tables": list(tables),
    }


def _write_manifest(path: Path, content: dict[str, Any]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=2, ensure_ascii=False)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    """Make sure that names in the folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
