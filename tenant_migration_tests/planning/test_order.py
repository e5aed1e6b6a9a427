"""Parents come before children, circles stay together, and the answer is always the same."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from tenant_migration.planning.order import Component, components_in_order


def members(parents: dict[str, list[str]]) -> list[tuple[str, ...]]:
    return [component.members for component in components_in_order(parents)]


def test_parents_come_first() -> None:
    assert members({"claims": ["profiles"], "documents": ["claims", "profiles"], "profiles": []}) == [
        ("profiles",),
        ("claims",),
        ("documents",),
    ]


def test_among_free_tables_the_name_decides() -> None:
    assert members({"c": [], "a": [], "b": []}) == [("a",), ("b",), ("c",)]


def test_a_self_reference_is_no_circle() -> None:
    assert members({"tree": ["tree"]}) == [("tree",)]


def test_unknown_parents_are_ignored() -> None:
    assert members({"a": ["elsewhere"]}) == [("a",)]


def test_a_circle_is_one_component_and_its_children_come_after_it() -> None:
    ring = {f"r{n:02}": [f"r{n % 13 + 1:02}"] for n in range(1, 14)}
    ordered = members({**ring, "a_child": ["r07"], "z_parent": [], "r01": ["r02", "z_parent"]})
    assert ordered == [("z_parent",), tuple(sorted(ring)), ("a_child",)]


def test_two_circles_that_touch_in_one_table_are_one() -> None:
    assert members({"a": ["b"], "b": ["a", "c"], "c": ["b"]}) == [("a", "b", "c")]


def test_a_chain_of_ten_thousand_tables_needs_no_recursion() -> None:
    chain = {f"t{n:05}": [f"t{n - 1:05}"] if n else [] for n in range(10_000)}
    assert [component.members[0] for component in components_in_order(chain)] == sorted(chain)


def test_a_circle_of_ten_thousand_tables_needs_no_recursion() -> None:
    ring = {f"t{n:05}": [f"t{(n + 1) % 10_000:05}"] for n in range(10_000)}
    assert components_in_order(ring) == [Component(tuple(sorted(ring)))]


GRAPHS = st.dictionaries(
    st.sampled_from("abcdefgh"), st.lists(st.sampled_from("abcdefgh"), max_size=4), max_size=8
)


def reachable(parents: dict[str, list[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        for parent in parents[todo.pop()]:
            if parent in parents and parent not in seen:
                seen.add(parent)
                todo.append(parent)
    return seen


@given(GRAPHS, st.integers())
def test_components_are_what_reachability_says_in_any_order_of_input(
    parents: dict[str, list[str]], seed: int
) -> None:
    ordered = members(parents)
    assert sorted(name for component in ordered for name in component) == sorted(parents)
    above = {name: reachable(parents, name) for name in parents}
    component_of = {name: component for component in ordered for name in component}
    for a in parents:
        for b in parents:
            together = a == b or (b in above[a] and a in above[b])
            assert (component_of[a] == component_of[b]) is together
    place = {name: index for index, component in enumerate(ordered) for name in component}
    assert all(place[parent] <= place[name] for name in parents for parent in above[name])

    shuffled = list(parents.items())
    random.Random(seed).shuffle(shuffled)
    assert members({name: sorted(of, reverse=True) for name, of in shuffled}) == ordered
