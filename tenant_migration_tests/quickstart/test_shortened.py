"""A long output shown by its ends."""

from __future__ import annotations

import io
import sys

import pytest

from tenant_migration.cli.shortened import Shortened, shortened


def shown(text: str, first: int, last: int) -> str:
    target = io.StringIO()
    stream = Shortened(target, first, last)
    for piece in (text[i : i + 7] for i in range(0, len(text), 7)):
        stream.write(piece)
    stream.end()
    return target.getvalue()


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_short_output_is_shown_whole(count):
    text = "".join(f"line {number}\n" for number in range(count))
    assert shown(text, 3, 2) == text


def test_long_output_says_how_much_is_left_out():
    text = "".join(f"line {number}\n" for number in range(10))
    assert shown(text, 3, 2) == "line 0\nline 1\nline 2\n   ... 5 more lines ...\nline 8\nline 9\n"


def test_last_line_without_an_end_is_not_lost():
    assert shown("a\nb", 1, 1) == "a\nb\n"


def test_nothing_shown_is_counted():
    assert shown("a\nb\n", 0, 0) == "   ... 2 more lines ...\n"


def test_what_was_kept_is_printed_also_when_the_command_fails(capsys):
    def fail() -> None:
        with shortened(1, 1):
            sys.stdout.write("first\nmiddle\nlast\n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert capsys.readouterr().out == "first\n   ... 1 more lines ...\nlast\n"
