"""How large the next batch is: aims at a time, changes by at most a factor of two."""

from __future__ import annotations

from collections import deque
from statistics import median

_OUTLIER = 3.0
"""Times the usual milliseconds a row: such a batch waited for something (a row lock, a checkpoint)."""
_REMEMBERED = 8


class Pace:
    """Size of a batch in any unit (pages, rows), adapted by the time of the batches before.

    A batch that was tried again, or took three times the usual time for its work, says nothing about the
    right size and is ignored; two such in a row are the new usual.
    """

    def __init__(self, *, first: int, most: int, target_ms: float, adaptive: bool) -> None:
        self._size = float(max(1, min(first, most)))
        self._most = max(1, most)
        self._target_ms = target_ms
        self._adaptive = adaptive
        self._usual: deque[float] = deque(maxlen=_REMEMBERED)
        self._outlier_before = False

    @property
    def size(self) -> int:
        """Size of the next batch, at least 1."""
        return max(1, int(self._size))

    def limit(self, most: int) -> None:
        """Set the largest size."""
        self._most = max(1, most)
        self._size = min(self._size, float(self._most))

    def learn(self, elapsed_ms: float, *, work: int, waited: bool) -> None:
        """Take the time of a batch into account.

        Args:
            elapsed_ms: its time.
            work: what it did, in any measure that its time grows with (rows, pages).
            waited: whether it was tried again after a lock timeout or the like.
        """
        if not self._adaptive or waited:
            return
        each = elapsed_ms / max(1, work)
        is_outlier = len(self._usual) >= 3 and each > _OUTLIER * median(self._usual)  # noqa: PLR2004 - enough to know
        if is_outlier and not self._outlier_before:
            self._outlier_before = True
            return
        self._outlier_before = False
        self._usual.append(each)
        factor = min(2.0, max(0.5, self._target_ms / max(elapsed_ms, 0.1)))
        self._size = min(float(self._most), max(1.0, self._size * factor))

    def halve(self) -> None:
        """The server said that a batch was too much at once."""
        if self._adaptive:
            self._size = max(1.0, self._size / 2)
