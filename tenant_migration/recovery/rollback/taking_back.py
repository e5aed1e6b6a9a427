"""Goes through the open batches of the journal, the newest first, until nothing can be taken back any more.

Listed anew until nothing is left: another tenant's rollback may divide batches meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from tenant_migration.backfill.pace import Pace
from tenant_migration.recovery.rollback.dividing import divide
from tenant_migration.recovery.rollback.keyed import KeyedStep
from tenant_migration.recovery.rollback.keyless import KeylessStep
from tenant_migration.recovery.rollback.moved import MovedStep
from tenant_migration.recovery.rollback.scope import Batch, list_batches
from tenant_migration.recovery.rollback.steps import StepOutcome, Steps
from tenant_migration.recovery.rollback.work import Work

_DIVIDE_FROM = 1.5
"""Times the size of a step: a batch that is hardly larger is not worth a transaction that divides it."""
_BATCHES_MOST = 1_000
"""Of one step."""


def take_back(work: Work) -> set[int]:
    """Take back every open batch in scope; return the batches whose entries stay open."""
    if work.table.key_columns:
        return _take_back_keyed(work)
    return _take_back_keyless(work)


def _take_back_keyed(work: Work) -> set[int]:
    pace, steps, failed = _pace(work), Steps(work, KeyedStep(work)), set[int]()
    while True:
        batches = [batch for batch in list_batches(work) if batch.batch_id not in failed]
        if not batches:
            return failed
        _go_through(work, batches, steps, pace, failed, batches_most=_BATCHES_MOST)


def _take_back_keyless(work: Work) -> set[int]:
    """First the rows that are where we put them, then those that moved."""
    pace, untouched, moving = _pace(work), Steps(work, KeylessStep(work)), Steps(work, MovedStep(work))
    failed: set[int] = set()
    while True:
        moved: list[Batch] = []
        seen: set[int] = set()
        while batches := [b for b in list_batches(work) if b.batch_id not in failed | seen]:
            moved += _go_through(work, batches, untouched, pace, failed, batches_most=1)
            seen.update(batch.batch_id for batch in moved)
        if not moved:
            return failed
        while moved:
            moved = _go_through(work, moved, moving, pace, failed, batches_most=_BATCHES_MOST)


def _go_through(
    work: Work, batches: Iterable[Batch], steps: Steps, pace: Pace, failed: set[int], *, batches_most: int
) -> list[Batch]:
    """Take each batch back once; return what moved. Batches whose entries stay open are added to `failed`."""
    queue = deque(batches)
    moved: list[Batch] = []
    while queue:
        if queue[0].rows > _DIVIDE_FROM * pace.size:
            queue.extendleft(reversed(divide(work, queue.popleft(), pace.size)))
        done = steps.run(_next(queue, pace.size, batches_most))
        failed.update(done.failed)
        moved += done.moved
        _learn(pace, done)
    return moved


def _learn(pace: Pace, done: StepOutcome) -> None:
    if done.too_much:
        pace.halve()
    elif done.entries:
        pace.learn(done.elapsed_ms, work=done.entries, waited=done.waited)


def _next(queue: deque[Batch], rows_most: int, batches_most: int) -> list[Batch]:
    """Take from the queue as many batches as fit into one step, at least one."""
    batches = [queue.popleft()]
    rows = batches[0].rows
    while queue and rows + queue[0].rows <= rows_most and len(batches) < batches_most:
        rows += queue[0].rows
        batches.append(queue.popleft())
    return batches


def _pace(work: Work) -> Pace:
    settings = work.table.settings
    return Pace(
        first=settings.batch_size,
        most=settings.batch_rows_max,
        target_ms=settings.batch_target_ms,
        adaptive=settings.adaptive,
    )
