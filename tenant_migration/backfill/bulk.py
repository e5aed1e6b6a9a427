"""The bulk pass over one leaf: windows of pages in order, each walked in waves, each wave one batch.

1. A window is as many pages as `waves` batches fill. Its first wave moves one part in sixteen of each page's
   rows elsewhere; after the commit that space is free, and the next waves put their new versions into it:
   HOT, without index entries (performance.md P2b). With an index on the organization column nothing can be
   HOT, and there is one wave.
2. The last page is fixed when the pass starts; what comes or moves later is the sweep's.
3. The cursor stands at a window. A pass that is continued walks its window again from the first wave: rows
   that are done are passed over.
4. A leaf whose file changed (VACUUM FULL, a rewrite) starts again at page 0 of the new file.
"""

from __future__ import annotations

from tenant_migration.backfill import failpoints
from tenant_migration.backfill.batches import Batches, CursorStep
from tenant_migration.backfill.cursor import Cursor, read_cursor, restart_cursor
from tenant_migration.backfill.leaves import Leaf, organization_is_indexed, read_leaves
from tenant_migration.backfill.pace import Pace
from tenant_migration.backfill.states import State
from tenant_migration.backfill.units import WAVES, PageRange
from tenant_migration.backfill.vacuum import Vacuum
from tenant_migration.backfill.work import Work
from tenant_migration.errors import OperationFailed
from tenant_migration.planning.model import Strategy

_REWRITES_MOST = 5
_LEFT_TO_SWEEP_ROWS = 10_000
"""A pass that is finished is not begun again for fewer rows than this: the sweep finds them one by one."""


def leaves_of(work: Work) -> list[Leaf]:
    """Return the table's leaves at this moment."""
    return work.retry.run(
        f"partitions of {work.table.qualified_name}", lambda connection: read_leaves(connection, work.table)
    )


def strategy_of(work: Work, leaf: Leaf) -> Strategy:
    """Return how the leaf is walked, by the indexes it has at this moment."""
    indexed = work.retry.run(
        f"indexes of {leaf.name}", lambda connection: organization_is_indexed(connection, work.table, leaf)
    )
    return Strategy.CTID_RANGES if indexed else Strategy.HOT_WAVES


def bulk_pass(work: Work, leaf: Leaf, rows_to_write: int) -> None:
    """Walk a leaf from where its cursor stands to the end of the pass.

    Args:
        work: the table's run, over all tenants.
        leaf: the leaf.
        rows_to_write: its rows that have a mapping and no organization, counted when the run started.
    """
    for _ in range(_REWRITES_MOST):
        if _walk(work, leaf, rows_to_write):
            return
        leaf = _as_it_is_now(work, leaf)
    raise OperationFailed(
        f"{leaf.name} was rewritten {_REWRITES_MOST} times during its pass (VACUUM FULL, CLUSTER, ALTER "
        "TABLE): let those end first, then run again"
    )


def _as_it_is_now(work: Work, leaf: Leaf) -> Leaf:
    found = [fresh for fresh in leaves_of(work) if fresh.oid == leaf.oid]
    if not found:
        raise OperationFailed(f"{leaf.name} is gone since the run started; run again")
    return found[0]


def _walk(work: Work, leaf: Leaf, rows_to_write: int) -> bool:
    """Walk one file; False when it was rewritten meanwhile."""
    cursor = _begin(work, leaf, rows_to_write)
    if cursor is None:
        return True
    waves = WAVES if strategy_of(work, leaf) is Strategy.HOT_WAVES else 1
    settings = work.table.settings
    rows_each_page = max(rows_to_write / max(1, leaf.pages), 0.01)
    pace = Pace(
        first=round(settings.batch_size / rows_each_page),
        most=round(settings.batch_rows_max / rows_each_page),
        target_ms=settings.batch_target_ms,
        adaptive=settings.adaptive,
    )
    batches = Batches(work, leaf, "bulk", State.RUNNING)
    vacuum = Vacuum(work, leaf) if waves == 1 else None
    failpoints.reach(failpoints.WALK_STARTED)
    page = cursor.next_page
    while page < cursor.end_page:
        window_end = min(page + pace.size * waves, cursor.end_page)
        outcomes = []
        for wave in range(waves):
            step = _step(page, window_end, wave, waves, cursor.end_page)
            outcome = batches.run(PageRange(page, window_end, wave, waves), step)
            if outcome.filenode != leaf.filenode:
                return False
            outcomes.append(outcome)
        pages = window_end - page
        slowest = max(outcomes, key=lambda outcome: outcome.elapsed_ms)
        if any(outcome.too_much for outcome in outcomes):
            pace.halve()
        elif pages == pace.size * waves:  # the last window is a rest: it says little
            pace.learn(slowest.elapsed_ms, work=pages, waited=any(outcome.waited for outcome in outcomes))
            most_rows = max(outcome.row_count for outcome in outcomes)
            if most_rows:
                pace.limit(round(settings.batch_rows_max * pages / (most_rows * waves)))
        page = window_end
        if vacuum is not None:
            vacuum.after(page)
    return True


def _begin(work: Work, leaf: Leaf, rows_to_write: int) -> Cursor | None:
    """Continue or start the pass; None when there is nothing to walk for."""
    checksum = work.run.mapping_checksum
    cursor = work.retry.run(
        f"cursor of {leaf.name}",
        lambda connection: read_cursor(connection, work.table_id, leaf, checksum),
    )
    if cursor is not None and not cursor.finished:
        work.tally.resumed = True
        return cursor
    if rows_to_write == 0 or (cursor is not None and rows_to_write <= _LEFT_TO_SWEEP_ROWS):
        return None
    return work.retry.run(
        f"cursor of {leaf.name}",
        lambda connection: restart_cursor(connection, work.table_id, leaf, checksum, work.run.run_id),
    )


def _step(page: int, window_end: int, wave: int, waves: int, end_page: int) -> CursorStep:
    """Return where the cursor stands after this wave."""
    if wave + 1 < waves:
        return CursorStep(page, window_end, wave + 1, finished=False)
    return CursorStep(window_end, None, 0, finished=window_end >= end_page)
