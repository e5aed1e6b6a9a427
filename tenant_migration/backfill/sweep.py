"""The sweep: what moved or came behind the pass is found and written, until nothing is left.

Every pass over pages under traffic leaves rows behind (performance.md P7), so this is not an exception but
the way the work ends: a count in one snapshot says what is left; it is written; the count is taken again.
"""

from __future__ import annotations

from collections.abc import Sequence

from tenant_migration.backfill import failpoints
from tenant_migration.backfill.batches import Batches
from tenant_migration.backfill.bulk import leaves_of, strategy_of
from tenant_migration.backfill.counts import list_remaining
from tenant_migration.backfill.leaves import Leaf
from tenant_migration.backfill.pace import Pace
from tenant_migration.backfill.states import State
from tenant_migration.backfill.units import WAVES, PageRange, RowList
from tenant_migration.backfill.work import Work
from tenant_migration.planning.model import Strategy

SWEEPS_MOST = 10
_LISTED_MOST = 10_000
"""Rows found one by one; when more are left, the whole leaf is walked."""


def sweep(work: Work) -> int:
    """Write what is left, at most `SWEEPS_MOST` times; return how many rows are left even so.

    Partitions that came meanwhile are included.
    """
    for number in range(1, SWEEPS_MOST + 1):
        left = 0
        for leaf in leaves_of(work):
            ctids = list_remaining(work, leaf, _LISTED_MOST + 1)
            if not ctids:
                continue
            left += len(ctids)
            if number == SWEEPS_MOST:
                continue  # this round only counts
            failpoints.reach(failpoints.SWEEP_STARTED)
            if len(ctids) > _LISTED_MOST:
                _walk(work, leaf)
            else:
                _write(work, leaf, ctids)
        if left == 0:
            return 0
        work.tally.sweeps = number
        if number > 1:
            work.clock.back_off(number - 1, first_s=0.1, most_s=2.0)
    return left


def _write(work: Work, leaf: Leaf, ctids: Sequence[str]) -> None:
    batches = Batches(work, leaf, "sweep", State.SWEEPING)
    settings = work.table.settings
    pace = Pace(
        first=settings.batch_size,
        most=settings.batch_rows_max,
        target_ms=settings.batch_target_ms,
        adaptive=settings.adaptive,
    )
    done = 0
    while done < len(ctids):
        part = RowList(tuple(ctids[done : done + pace.size]))
        outcome = batches.run(part)
        if outcome.too_much:
            pace.halve()
        else:
            pace.learn(outcome.elapsed_ms, work=outcome.row_count, waited=outcome.waited)
        done += len(part.ctids)


def _walk(work: Work, leaf: Leaf) -> None:
    """Walk the whole leaf once, as the bulk pass does but without a cursor."""
    waves = WAVES if strategy_of(work, leaf) is Strategy.HOT_WAVES else 1
    walk_pages(work, leaf, Batches(work, leaf, "sweep", State.SWEEPING), waves=waves)


def walk_pages(work: Work, leaf: Leaf, batches: Batches, *, waves: int) -> None:
    """Walk a leaf from its first page to its last of this moment, without a cursor."""
    settings = work.table.settings
    rows_each_page = max(work.tally.rows_expected / max(1, leaf.pages), 0.01)
    pace = Pace(
        first=round(settings.batch_size / rows_each_page),
        most=max(leaf.pages, 1),
        target_ms=settings.batch_target_ms,
        adaptive=settings.adaptive,
    )
    page = 0
    while page < leaf.pages:
        window_end = min(page + pace.size * waves, leaf.pages)
        outcomes = [batches.run(PageRange(page, window_end, wave, waves)) for wave in range(waves)]
        if any(outcome.too_much for outcome in outcomes):
            pace.halve()
        elif window_end - page == pace.size * waves:
            most_rows = max(outcome.row_count for outcome in outcomes)
            if most_rows:
                pace.limit(round(settings.batch_rows_max * (window_end - page) / (most_rows * waves)))
            pace.learn(
                max(outcome.elapsed_ms for outcome in outcomes),
                work=window_end - page,
                waited=any(outcome.waited for outcome in outcomes),
            )
        page = window_end
