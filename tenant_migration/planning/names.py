"""Finds the table that a person means by `schema.table` or by a bare name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from tenant_migration.catalog.model import TableName
from tenant_migration.errors import UnknownTable


class TableNames:
    """The tables that exist, by the text people type for them."""

    def __init__(self, names: Iterable[TableName], *, interface_schema: str) -> None:
        self._by_text: dict[str, TableName] = {}
        self.ambiguous: set[str] = set()
        for name in sorted(names):
            if str(name) in self._by_text:
                self.ambiguous.add(str(name))
            self._by_text[str(name)] = name
        self._interface_schema = interface_schema

    def find(self, text: str) -> TableName | None:
        """Return the table: the exact `schema.table`, else the bare name in the interface schema."""
        return self._by_text.get(text) or self._by_text.get(f"{self._interface_schema}.{text}")

    def require(self, text: str, *, where: str) -> TableName:
        """Return the table that the configuration names.

        Args:
            text: as typed.
            where: the key of the configuration that names it, for the message.

        Raises:
            UnknownTable: there is none; the message has the nearest known one.
        """
        found = self.find(text)
        if found is None:
            raise UnknownTable(f"{where} names the table {text!r}, which does not exist{self.hint(text)}")
        return found

    def hint(self, text: str) -> str:
        """Return `; did you mean ...?` with the nearest table's name, or nothing when none is near."""
        near = difflib.get_close_matches(text, self._by_text, n=1)
        if not near and "." not in text:
            bare = {str(name).rsplit(".", 1)[-1]: str(name) for name in self._by_text.values()}
            near = [bare[found] for found in difflib.get_close_matches(text, bare, n=1)]
        return f"; did you mean {near[0]!r}?" if near else ""


def nearest_column(text: str, names: Iterable[str]) -> str:
    """Return `; did you mean ...?` with the nearest column, or nothing when there is no column like it."""
    near = difflib.get_close_matches(text, list(names), n=1, cutoff=0.4)
    return f"; did you mean {near[0]!r}?" if near else ""
