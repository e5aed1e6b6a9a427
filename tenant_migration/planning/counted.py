"""A number with its noun, as a person writes it."""

from __future__ import annotations


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """Return `1 table`, `2,000 tables`; the plural where it is not the singular with an s."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
