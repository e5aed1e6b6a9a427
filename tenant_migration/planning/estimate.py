"""What a table will cost, about: rows, WAL, growth of the heap, seconds.

Constants come from measurements on PostgreSQL 15 to 18 with rows of about 150 bytes (P0 to P2b); full-page
images after a checkpoint come on top, and so does whatever the server does besides.
"""

from __future__ import annotations

from tenant_migration.planning.model import Estimate, Strategy

_JOURNAL_WAL_BYTES_PER_ROW = 25
_HOT_WAL_BYTES_PER_ROW = 280
_INDEX_BUILD_WAL_BYTES_PER_ROW = 20
_ROW_WAL_BYTES_PER_ROW = 300
_WAL_BYTES_PER_INDEX_ENTRY = 125
_HOT_HEAP_GROWTH = 0.26
_RANGES_HEAP_GROWTH = 1.05
_HOT_SECONDS_PER_ROW = 20e-6
_RANGES_SECONDS_PER_ROW = 45e-6
_BYTES_PER_ROW_GUESS = 150


def estimate(strategy: Strategy, *, rows: int | None, heap_bytes: int, index_count: int) -> Estimate:
    """Estimate the cost of migrating the whole table.

    Args:
        strategy: how the table is walked.
        rows: rows to migrate; None: not known, then guessed from the heap's size.
        heap_bytes: size of the heap, all leaves.
        index_count: indexes that an update which is not HOT maintains.
    """
    guessed = heap_bytes // _BYTES_PER_ROW_GUESS if rows is None else rows
    if strategy is Strategy.HOT_WAVES:
        per_row = _HOT_WAL_BYTES_PER_ROW + _INDEX_BUILD_WAL_BYTES_PER_ROW
        growth, seconds_per_row = _HOT_HEAP_GROWTH, _HOT_SECONDS_PER_ROW
    else:
        per_row = _ROW_WAL_BYTES_PER_ROW + index_count * _WAL_BYTES_PER_INDEX_ENTRY
        growth, seconds_per_row = _RANGES_HEAP_GROWTH, _RANGES_SECONDS_PER_ROW
    return Estimate(
        rows=guessed,
        wal_bytes=guessed * (per_row + _JOURNAL_WAL_BYTES_PER_ROW),
        heap_growth_bytes=int(heap_bytes * growth) if guessed else 0,
        seconds=round(guessed * seconds_per_row, 1),
    )
