"""What the rows say about tenants: one grouped scan of a table, under a time limit.

Counts: rows, rows without a tenant, rows of tenants without a mapping, rows whose organization differs from the
mapping. Reads one table in one short read-only transaction, so that no old snapshot holds back vacuum.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TenantValues:
    """What one table's rows say; `not_counted` is the reason when there are no counts."""

    rows: int = 0
    null_rows: int = 0
    not_counted: str | None = None
    mapping_known: bool = False
    """Whether rows were compared with the mapping; it needs `install`."""
    unmapped_rows: int = 0
    unmapped_tenants: int = 0
    unmapped_examples: tuple[tuple[str, int], ...] = ()
    """At most ten, the largest first: tenant and rows."""
    allowed_unmapped_rows: int = 0
    filled_rows: int = 0
    """Rows that have an organization."""
    differing_rows: int = 0
    """Rows whose organization is not the mapped one."""
