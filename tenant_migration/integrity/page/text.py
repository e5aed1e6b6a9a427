"""Makes HTML of what the report holds; nothing gets into the page without passing here."""

from __future__ import annotations

import re
from html import escape

Html = str
"""Text that is HTML already."""

_CHARACTERS_MOST = 300


def text(value: object) -> Html:
    """Escape a text; what nobody would see in it (a control character, a no-break space) is spelled out."""
    given = str(value)
    shown = "".join(map(_character, given[:_CHARACTERS_MOST]))
    return shown if len(given) <= _CHARACTERS_MOST else f"{shown}… ({len(given):,} characters)"


def _character(character: str) -> Html:
    if character.isprintable():
        return escape(character)
    spelled = character.encode("unicode_escape").decode("ascii")
    return f'<span class="unseen">{escape(spelled)}</span>'


def key(value: str) -> Html:
    """Return an id or a key, apart from the text around it, in whatever direction it is written."""
    return f"<bdi><code>{text(value)}</code></bdi>" if value else "<em>(empty)</em>"


def verbatim(lines: str) -> Html:
    """Return all of a text of several lines, as it stands in a `pre`."""
    return "\n".join("".join(map(_character, line)) for line in lines.split("\n"))


def with_commands(sentence: str) -> Html:
    """Return a sentence of ours, in which commands and settings stand between backticks."""
    parts = sentence.split("`")
    if len(parts) % 2 == 0:
        return text(sentence)
    return "".join(f"<code>{text(part)}</code>" if n % 2 else text(part) for n, part in enumerate(parts))


def breakable(name: str) -> Html:
    """Return a table's name that may be broken after a dot and an underscore."""
    return "".join(
        text(part) + ("<wbr>" if part in "._" else "") for part in re.split("([._])", name) if part
    )
