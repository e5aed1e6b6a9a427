"""Where and how commands print: terminals and pipes, Unicode and ASCII."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from typing import Any, TextIO, cast

import click
from rich.console import Console
from rich.table import Table

PLAIN_WIDTH = 160
"""Columns of a table that goes to a file or a pipe, where there is no terminal to ask."""


@dataclass(frozen=True)
class Glyphs:
    """Characters beyond ASCII, each with a stand-in for outputs that cannot carry it."""

    status: str
    check: str
    cross: str
    warning: str
    full: str
    empty: str


UNICODE = Glyphs("📊 ", "✅ ", "❌ ", "⚠️  ", "█", "░")
ASCII = Glyphs("", "", "", "", "#", ".")


def glyphs(stream: TextIO | None = None) -> Glyphs:
    """Return the characters that this output can carry; default stdout."""
    encoding = getattr(stream or sys.stdout, "encoding", None) or "ascii"
    return Glyphs(
        **{
            name: wanted if _fits(wanted, encoding) else getattr(ASCII, name)
            for name, wanted in vars(UNICODE).items()
        }
    )


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def console(stream: TextIO | None = None) -> Console:
    """Return a console on stdout, or on `stream`; made anew each time, since tests exchange the streams."""
    stream = stream or sys.stdout
    if stream.isatty():
        return Console(file=stream, highlight=False, markup=False)
    file = cast(TextIO, _WithoutTrailingBlanks(stream))
    return Console(file=file, width=PLAIN_WIDTH, highlight=False, markup=False)


class _WithoutTrailingBlanks:
    """A file or a pipe to which rich writes whole lines; it fills them with blanks up to a table's width."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write without the blanks at the ends of lines."""
        return self._stream.write(re.sub(r" +(?=\n)", "", text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def plain_table(*columns: str, numbers_from: int) -> Table:
    """Return a table without lines; columns from the given place on hold numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, title in enumerate(columns):
        table.add_column(title, justify="right" if place >= numbers_from else "left", overflow="fold")
    return table


def is_terminal() -> bool:
    """Say whether a person watches stdout."""
    return sys.stdout.isatty()


def print_json(value: Any) -> None:
    """Print a value as JSON; characters that the output cannot carry are escaped as JSON does it."""
    carries_all = _fits("█📊", sys.stdout.encoding or "ascii")
    click.echo(json.dumps(value, indent=2, ensure_ascii=not carries_all, default=str))


def duration(seconds: float) -> str:
    """Return a time for a person: `850 ms`, `12.3 s`, `2 min 5 s`, `3 h 20 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min"


def shown(text: str) -> str:
    """Return an id or a label as it is, or quoted and escaped when it holds what a terminal would obey."""
    return text if text.isprintable() else repr(text)
