"""Parents before children, whatever circles the foreign keys make."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

Node = TypeVar("Node", bound=str)


@dataclass(frozen=True)
class Component(Generic[Node]):
    """Tables that refer to each other in a circle, or one table alone."""

    members: tuple[Node, ...]
    """In order of name."""


def components_in_order(parents: Mapping[Node, Iterable[Node]]) -> list[Component[Node]]:
    """Return the strongly connected components, parents first; the same answer for the same graph.

    Algorithm:
        1. Tarjan's components, with a stack of our own: a chain of a thousand tables is no recursion.
        2. Kahn's order over the components; of those that are free, the one with the smallest name goes
           first, so that a new table moves no other more than it must.

    Args:
        parents: each table -> the tables it refers to; unknown ones and itself are ignored.
    """
    graph = {
        node: sorted({parent for parent in of_node if parent in parents and parent != node})
        for node, of_node in sorted(parents.items())
    }
    components = _tarjan(graph)
    number = {node: index for index, component in enumerate(components) for node in component.members}
    waits_for = {
        index: {number[parent] for node in component.members for parent in graph[node]} - {index}
        for index, component in enumerate(components)
    }
    children: dict[int, set[int]] = {index: set() for index in waits_for}
    for index, of_component in waits_for.items():
        for parent in of_component:
            children[parent].add(index)
    free = [
        (components[index].members[0], index) for index, of_component in waits_for.items() if not of_component
    ]
    heapq.heapify(free)
    ordered: list[Component[Node]] = []
    while free:
        _, index = heapq.heappop(free)
        ordered.append(components[index])
        for child in children[index]:
            waits_for[child].discard(index)
            if not waits_for[child]:
                heapq.heappush(free, (components[child].members[0], child))
    return ordered


def _tarjan(graph: Mapping[Node, list[Node]]) -> list[Component[Node]]:
    """Find the strongly connected components without recursion."""
    index_of: dict[Node, int] = {}
    lowest: dict[Node, int] = {}
    on_path: set[Node] = set()
    path: list[Node] = []
    components: list[Component[Node]] = []
    for root in graph:
        if root in index_of:
            continue
        index_of[root] = lowest[root] = len(index_of)
        path.append(root)
        on_path.add(root)
        work = [(root, iter(graph[root]))]
        while work:
            node, rest = work[-1]
            following = next(rest, None)
            if following is None:
                work.pop()
                if work:
                    above = work[-1][0]
                    lowest[above] = min(lowest[above], lowest[node])
                if lowest[node] == index_of[node]:
                    members = [path.pop()]
                    while members[-1] != node:
                        members.append(path.pop())
                    on_path.difference_update(members)
                    components.append(Component(tuple(sorted(members))))
            elif following not in index_of:
                index_of[following] = lowest[following] = len(index_of)
                path.append(following)
                on_path.add(following)
                work.append((following, iter(graph[following])))
            elif following in on_path:
                lowest[node] = min(lowest[node], index_of[following])
    return components
