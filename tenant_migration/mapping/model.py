"""What a mapping is, and the counts over all mappings. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

MAPPING_STATUSES = ("pending", "in_progress", "completed", "failed", "rolled_back")
"""As in the database's own constraint; `mappings --list` takes one of them."""

TENANT_ID_BYTES_MAX = 2_600
"""The primary key's B-tree takes 2,704 bytes an entry, header included; a longer id could not be stored."""


@dataclass(frozen=True)
class Mapping:
    """One tenant and its organization."""

    tenant_id: str
    organization_id: UUID
    migration_status: str
    migrated_at: datetime | None
    migrated_by: str | None
    record_count: int
    """Rows that now carry a value written by us."""
    error_log: str | None


@dataclass(frozen=True)
class StatusCounts:
    """How many mappings are in each status."""

    total: int
    pending: int
    in_progress: int
    completed: int
    failed: int
    rolled_back: int
    total_records: int
    """Rows that now carry a value written by us, over all tenants."""


def can_be_stored(text: str) -> bool:
    """Say whether PostgreSQL can hold this text: no NUL, and nothing that UTF-8 cannot carry.

    Arguments that are not UTF-8 reach Python with lone surrogates; asked about such a text, the driver
    raises instead of the database saying that it is unknown.
    """
    if "\0" in text:
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
