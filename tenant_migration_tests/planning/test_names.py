"""A table is found by what a person types, and a typo is answered with the nearest name."""

from __future__ import annotations

import pytest

from tenant_migration.catalog.model import TableName
from tenant_migration.errors import UnknownTable
from tenant_migration.planning.names import TableNames, nearest_column

NAMES = TableNames(
    [
        TableName("public", "claims"),
        TableName("sales", "claims"),
        TableName("app", "Orders"),
        TableName("a.b", "c"),
    ],
    interface_schema="public",
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("claims", TableName("public", "claims")),
        ("public.claims", TableName("public", "claims")),
        ("sales.claims", TableName("sales", "claims")),
        ("app.Orders", TableName("app", "Orders")),
        ("a.b.c", TableName("a.b", "c")),
        ("Orders", None),
        ("app.orders", None),
    ],
)
def test_names_are_exact_and_bare_ones_are_of_the_interface_schema(
    text: str, found: TableName | None
) -> None:
    assert NAMES.find(text) == found


@pytest.mark.parametrize(
    ("text", "nearest"),
    [("public.claim", "public.claims"), ("app.orders", "app.Orders"), ("order", "app.Orders")],
)
def test_an_unknown_table_is_answered_with_the_nearest(text: str, nearest: str) -> None:
    with pytest.raises(UnknownTable, match=f"tables names the table .*did you mean '{nearest}'"):
        NAMES.require(text, where="tables")


def test_no_name_is_proposed_when_none_is_near() -> None:
    with pytest.raises(UnknownTable, match=r"which does not exist$"):
        NAMES.require("zzzzzz.qqqqqq", where="tables")


def test_names_that_are_written_alike_are_known_to_be() -> None:
    alike = TableNames([TableName("a.b", "c"), TableName("a", "b.c")], interface_schema="public")
    assert alike.ambiguous == {"a.b.c"}


def test_the_nearest_column() -> None:
    assert nearest_column("tenantid", ["id", "tenant_id"]) == "; did you mean 'tenant_id'?"
    assert nearest_column("zzzz", ["id"]) == ""
