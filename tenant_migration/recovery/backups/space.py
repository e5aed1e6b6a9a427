"""Whether a backup has room: asked before anything is made, answered with numbers or with `not checked`."""

from __future__ import annotations

import ipaddress
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from tenant_migration.config import BackupsConfig
from tenant_migration.database.connection import transaction
from tenant_migration.errors import Refused
from tenant_migration.planning.describe import bytes_as_text
from tenant_migration.recovery.backups.columns import Source, naming_the_locked
from tenant_migration.recovery.backups.copy_sql import rows_of_tenants

COMMAND_TIMEOUT_S = 30
LOCK_TIMEOUT_MS = 5_000
COPY_AND_WAL = 2
"""The rows are written twice: into the copy, and into the write-ahead log."""
_START_TOLERANCE_S = 5

# Heap and out-of-line values, of all partitions; without indexes, which a copy has none of.
_BYTES = """
SELECT coalesce(sum(pg_table_size(c.oid::regclass)), 0)::bigint,
       coalesce(sum(greatest(c.reltuples, 0)), 0)::float8
FROM pg_class AS root JOIN pg_namespace AS n ON n.oid = root.relnamespace
CROSS JOIN LATERAL (
    SELECT relid::oid FROM pg_partition_tree(root.oid) WHERE isleaf UNION SELECT root.oid) AS part (oid)
JOIN pg_class AS c ON c.oid = part.oid
WHERE n.nspname = %s AND root.relname = %s"""

# What is being made is not seen until it is complete: it counts with what it was estimated to take.
_USED = """
SELECT (SELECT coalesce(sum(pg_total_relation_size(c.oid::regclass)), 0) FROM pg_class AS c
        WHERE c.relnamespace = 'tenant_migration'::regnamespace AND c.relkind = 'r'
          AND c.relname IN (SELECT relation FROM tenant_migration.backed_up_tables))::bigint,
       (SELECT coalesce(sum(bytes_expected), 0) FROM tenant_migration.backups
        WHERE state = 'creating')::bigint"""

# Settings that this role may not read are NULL.
_PLACE = """
SELECT (SELECT setting FROM pg_settings WHERE name = 'data_directory'),
       extract(epoch FROM pg_postmaster_start_time())::int8,
       current_setting('default_tablespace') = ''
       AND (SELECT spcname = 'pg_default'
            FROM pg_database AS d JOIN pg_tablespace AS t ON t.oid = d.dattablespace
            WHERE d.datname = current_database())"""


@dataclass(frozen=True)
class Space:
    """What was found before a backup is made."""

    bytes_needed: int
    """About, of the copy."""
    facts: tuple[str, ...]

    def __str__(self) -> str:
        """Say it for people."""
        return "; ".join(self.facts)


@dataclass(frozen=True)
class _Free:
    """How many bytes are free where the server keeps its data, and how that is known."""

    bytes_free: int
    source: str


def refuse_without_space(
    connection: psycopg.Connection,
    config: BackupsConfig,
    sources: Sequence[Source],
    *,
    keys: Sequence[Sequence[str]] | None,
    directory: Path | None,
) -> Space:
    """Compare what the backup takes with what there is; return what was found.

    Args:
        connection: to the database.
        config: limits and the operator's command.
        sources: what will be copied.
        keys: of each source, the tenants' keys; None: whole tables.
        directory: where it is exported to as well.

    Raises:
        Refused: not enough room, or the operator's command fails; with the numbers.
    """
    needed = _bytes_needed(connection, sources, keys)
    facts = [f"about {bytes_as_text(needed)} needed"]
    if config.max_bytes is not None:
        with transaction(connection, read_only=True):
            facts.append(refuse_beyond(connection, config.max_bytes, needed))
    free = _free(connection, config)
    if free is None:
        facts.append(
            "free space not checked: the server's disk cannot be looked at from here "
            "(backups.free_bytes_command can say it)"
        )
    else:
        numbers = f"{bytes_as_text(free.bytes_free)} free by {free.source}"
        if free.bytes_free < COPY_AND_WAL * needed:
            raise Refused(
                f"not enough room for the backup: copy and write-ahead log take about "
                f"{bytes_as_text(COPY_AND_WAL * needed)}, {numbers}. {_WAY_OUT}"
            )
        facts.append(numbers)
    if directory is not None:
        facts.append(_refuse_full_directory(directory, needed))
    return Space(needed, tuple(facts))


def refuse_beyond(connection: psycopg.Connection, max_bytes: int, needed: int) -> str:
    """Compare all backups with the limit, those included that are being made; part of a transaction.

    Returns:
        The numbers, for people.

    Raises:
        Refused: this one would go beyond it.
    """
    row = connection.execute(_USED).fetchone()
    used, being_made = (0, 0) if row is None else (int(row[0]), int(row[1]))
    others = f" and about {bytes_as_text(being_made)} are being made" if being_made else ""
    numbers = (
        f"backups take {bytes_as_text(used)}{others}, this one about {bytes_as_text(needed)}, "
        f"and backups.max_bytes is {max_bytes:,} ({bytes_as_text(max_bytes)})"
    )
    if used + being_made + needed > max_bytes:
        raise Refused(f"not enough room for the backup: {numbers}. {_WAY_OUT}, or raise the limit")
    return numbers


_WAY_OUT = "Drop old backups (`tenant-migration backup --cleanup`), name fewer tables"


def _bytes_needed(
    connection: psycopg.Connection, sources: Sequence[Source], keys: Sequence[Sequence[str]] | None
) -> int:
    needed = 0.0
    with transaction(connection, read_only=True, lock_timeout_ms=LOCK_TIMEOUT_MS):
        for number, source in enumerate(sources):
            with naming_the_locked(source.table):
                needed += size_of(connection, source, None if keys is None else keys[number])
    return round(needed)


def size_of(connection: psycopg.Connection, source: Source, keys: Sequence[str] | None) -> float:
    """Return about how many bytes a copy takes: of some tenants, their share by the planner's estimate."""
    row = connection.execute(_BYTES, (source.table.schema_name, source.table.table_name)).fetchone()
    size, rows = (int(row[0]), float(row[1])) if row is not None else (0, 0.0)
    if keys is None:
        return size
    plan = connection.execute(
        sql.SQL("EXPLAIN (FORMAT json) {}").format(rows_of_tenants(source)), {"keys": list(keys)}
    ).fetchone()
    expected = float(plan[0][0]["Plan"]["Plan Rows"]) if plan is not None else 0.0
    return size * min(1.0, expected / max(rows, expected, 1.0))


def _free(connection: psycopg.Connection, config: BackupsConfig) -> _Free | None:
    if config.free_bytes_command is not None:
        return _Free(_ask_command(config.free_bytes_command), "backups.free_bytes_command")
    if not _is_local(connection):
        return None
    row = connection.execute(_PLACE).fetchone()
    if row is None or row[0] is None or not row[2]:
        return None
    folder, started_at = Path(row[0]), int(row[1])
    try:
        # A folder of that name on this machine may be another server's, when ours runs in a container.
        written = (folder / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        if abs(int(written[2]) - started_at) > _START_TOLERANCE_S:
            return None
        return _Free(_free_in(folder), f"the disk of {folder}")
    except (OSError, ValueError, IndexError):
        return None


def _ask_command(command: Sequence[str]) -> int:
    words = list(command)
    advice = "Mend backups.free_bytes_command, or leave it out"
    try:
        answer = subprocess.run(  # noqa: S603 - the operator's own words, without a shell
            words, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(f"backups.free_bytes_command could not be asked: {error}. {advice}") from error
    text = answer.stdout.strip()
    if answer.returncode != 0 or not text.isascii() or not text.isdigit():
        said = " ".join((answer.stderr.strip() or text or "nothing").split())[:200]
        raise Refused(
            "backups.free_bytes_command must print a number of bytes; it ended with exit code "
            f"{answer.returncode} and said: {said}. {advice}"
        )
    return int(text)


def _is_local(connection: psycopg.Connection) -> bool:
    host = connection.info.host
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _free_in(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _refuse_full_directory(directory: Path, needed: int) -> str:
    existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    free = _free_in(existing)
    numbers = f"{bytes_as_text(free)} free in {directory}"
    if free < needed:
        raise Refused(
            f"not enough room to export the backup: about {bytes_as_text(needed)} needed, {numbers}. "
            "Name another directory"
        )
    return numbers
