"""Anchors of the audit log in a file outside of the database: who cuts the log's tail cannot cut it here too.

The file is `audit_anchors.jsonl` in Dagster's home, one line an anchor, only ever appended to:

    {"at": "2026-01-31T12:00:00+00:00", "system": "7435...", "database": "claims", "oid": 16384,
     "entries": 57, "head": "9f2c..."}

A line belongs to a database by the server's system identifier and the database's number and name: a database
that was dropped and made again is another one, and so is a dump that was restored elsewhere. Commands and
Dagster's ops append a line when they end and the log is longer than the last line says; the Python API does
not write files that nobody asked for: its operations are anchored by the next command. Copy the file to where
the database's administrators cannot write, and the log cannot be shortened unseen even by them.

`install` into a database that had no log begins a new chapter (`"began": true`): what was anchored before
belongs to a log that somebody uninstalled. That stays visible, and is no broken chain.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg

from tenant_migration.database.audit_chain import Anchor, missing, read_anchor
from tenant_migration.errors import TenantMigrationError
from tenant_migration.quickstart.folders import dagster_home, ensure_dagster_home

_log = logging.getLogger(__name__)

FILE_NAME = "audit_anchors.jsonl"

_TAIL_BYTES = 65_536
"""Where the last line of a database is looked for before another one is appended: some 250 lines."""


@dataclass(frozen=True)
class DatabaseIdentity:
    """Which database a line belongs to."""

    system: str
    """The server's system identifier, made by initdb; copied by a physical backup, not by a dump."""
    oid: int
    database: str


@dataclass(frozen=True)
class AnchorLine:
    """One line of the file."""

    at: str
    anchor: Anchor
    began: bool = False
    """The log was new then."""


@dataclass(frozen=True)
class KeptAnchors:
    """What the file has of one database."""

    path: Path
    lines: tuple[AnchorLine, ...]
    """Of the log that is there now, oldest first."""
    earlier: tuple[AnchorLine, ...]
    """Of logs that were there before the last installation into a database without one."""
    unreadable: tuple[int, ...]
    """Numbers of lines that nobody can read any more, of whichever database."""


def anchors_file() -> Path:
    """Return where the anchors of this machine are."""
    return dagster_home() / FILE_NAME


def identity_of(connection: psycopg.Connection) -> DatabaseIdentity:
    """Return which database this is."""
    [(oid, name)] = connection.execute(
        "SELECT oid, datname::text FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()"
    )
    try:
        [(system,)] = connection.execute("SELECT system_identifier::text FROM pg_catalog.pg_control_system()")
    except psycopg.errors.InsufficientPrivilege:  # some providers keep it to themselves
        system = f"{connection.info.host or 'local'}:{connection.info.port}"
    return DatabaseIdentity(system, int(oid), name)


def keep_anchor(connection: psycopg.Connection, *, began: bool = False) -> Anchor | None:
    """Append the log's newest link to the file, unless its last line has it; return it.

    What was anchored last is looked for in the log first: a log that was cut says so at the next operation,
    not only when somebody asks. That a line cannot be written is a warning: the operation is done.

    Args:
        connection: outside of a transaction.
        began: the log is new, by an installation.
    """
    try:
        anchor = read_anchor(connection)
        if anchor is None:
            return None
        identity = identity_of(connection)
        path = ensure_dagster_home() / FILE_NAME
        last = _last_line(path, identity)
        if last is not None and not began:
            if last.anchor == anchor:
                return anchor
            if missing(connection, [last.anchor]):
                _log.warning(
                    "the audit log of database %s does not hold entry %s any more, which %s has of %s: "
                    "`tenant-migration audit --verify`",
                    identity.database, last.anchor.entries, path, last.at,
                )  # fmt: skip
        _append(path, identity, anchor, began=began)
    except psycopg.errors.InsufficientPrivilege:  # who may not read the log has written nothing into it
        return None
    except (OSError, psycopg.Error, TenantMigrationError) as error:
        _log.warning("the audit log's anchor could not be kept outside of the database: %s", error)
        return None
    return anchor


def read_anchors(connection: psycopg.Connection) -> KeptAnchors:
    """Return what the file has of this database; nothing, when there is no file."""
    path = anchors_file()
    identity = identity_of(connection)
    chapters: list[list[AnchorLine]] = [[]]
    unreadable = []
    if path.exists():
        for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if not text.strip():
                continue
            try:
                belongs_to, line = _parse(text)
            except (ValueError, KeyError, TypeError):
                unreadable.append(number)
                continue
            if belongs_to == identity:
                if line.began:
                    chapters.append([])
                chapters[-1].append(line)
    earlier = [line for chapter in chapters[:-1] for line in chapter]
    return KeptAnchors(path, tuple(chapters[-1]), tuple(earlier), tuple(unreadable))


def _append(path: Path, identity: DatabaseIdentity, anchor: Anchor, *, began: bool) -> None:
    """Append in one write, on the disk when it returns: two processes never mix their lines."""
    line: dict[str, Any] = {
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "system": identity.system,
        "database": identity.database,
        "oid": identity.oid,
        "entries": anchor.entries,
        "head": anchor.head,
    }
    if began:
        line["began"] = True
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # by a full disk or a crash
        os.write(descriptor, (b"\n" if torn else b"") + json.dumps(line).encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _last_line(path: Path, identity: DatabaseIdentity) -> AnchorLine | None:
    for text in _tail(path):
        try:
            belongs_to, line = _parse(text)
        except (ValueError, KeyError, TypeError):
            continue  # `audit --verify` tells of it
        if belongs_to == identity:
            return line
    return None


def _tail(path: Path) -> Iterator[str]:
    """Yield the file's last lines, the newest first."""
    if not path.exists():
        return
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    yield from reversed(lines[1:] if size > _TAIL_BYTES else lines)


def _parse(text: str) -> tuple[DatabaseIdentity, AnchorLine]:
    line = json.loads(text)
    return (
        DatabaseIdentity(str(line["system"]), int(line["oid"]), str(line["database"])),
        AnchorLine(
            str(line["at"]), Anchor(int(line["entries"]), str(line["head"])), bool(line.get("began", False))
        ),
    )
