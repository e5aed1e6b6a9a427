"""Time as a dependency: tests replace waiting and chance."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Clock:
    """What the engine knows of time and chance."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[float, float], float] = field(default=random.uniform)

    def back_off(self, attempt: int, *, first_s: float, most_s: float) -> None:
        """Sleep before attempt number `attempt` (1 is the first repetition): doubling, jittered, bounded."""
        longest = min(most_s, first_s * 2 ** (attempt - 1))
        self.sleep(self.jitter(longest / 2, longest))
