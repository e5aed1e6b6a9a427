"""Shows the beginning and the end of a long output, and says how much lies between."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import TextIOBase
from typing import TextIO, cast


@contextmanager
def shortened(first: int, last: int) -> Iterator[None]:
    """Let through only the first and the last lines of what is printed meanwhile."""
    output = Shortened(sys.stdout, first, last)
    try:
        with redirect_stdout(cast(TextIO, output)):
            yield
    finally:
        output.end()


class Shortened(TextIOBase):
    """A text stream in front of another, which looks like it to whoever asks."""

    def __init__(self, target: TextIO, first: int, last: int) -> None:
        """Stand before `target`."""
        self._target = target
        self._remaining = first
        self._last: deque[str] = deque(maxlen=last)
        self._left_out = 0
        self._line = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The other stream's."""
        return self._target.encoding

    def isatty(self) -> bool:
        """Say whether the other stream is a terminal."""
        return self._target.isatty()

    def writable(self) -> bool:
        """Say yes."""
        return True

    def write(self, text: str) -> int:
        """Take a text, line by line."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._take(line)
        return len(text)

    def end(self) -> None:
        """Write what was kept for the end."""
        if self._line:
            self._take(self._line)
        if self._left_out:
            self._target.write(f"   ... {self._left_out:,} more lines ...\n")
        self._target.writelines(f"{line}\n" for line in self._last)
        self._target.flush()

    def _take(self, line: str) -> None:
        if self._remaining > 0:
            self._remaining -= 1
            self._target.write(f"{line}\n")
            return
        if len(self._last) == self._last.maxlen:
            self._left_out += 1
        self._last.append(line)
