"""Tables without the key that belong to a tenant through a foreign key: listed, not migrated."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from tenant_migration.catalog.model import Catalog, ForeignKey, TableName


def derivable_tables(
    catalog: Catalog, managed: Iterable[TableName], left_out: Iterable[TableName]
) -> tuple[str, ...]:
    """List the shortest ways from tables without the key to managed ones.

    Algorithm:
        1. Start with the managed tables; each is its own way, of no steps.
        2. Follow foreign keys backwards, breadth first, to tables that are neither managed nor left out.
        3. A table's ways are its foreign keys to what was reached one step earlier.

    Args:
        catalog: the database.
        managed: tables with the key.
        left_out: tables that are not to be listed: the organizations, where tenants live, excluded ones.

    Returns:
        `schema.table: column -> parent`, with the rest of the way behind it; ` (nullable)` where a row may
        have no parent, so that the way gives no tenant for it.
    """
    nullable = {
        (table.name, column.name)
        for table in catalog.tables
        for column in table.columns
        if not column.not_null
    }
    incoming: dict[TableName, list[ForeignKey]] = {}
    for key in catalog.foreign_keys:
        if key.child != key.parent:
            incoming.setdefault(key.parent, []).append(key)
    roots = sorted(managed)
    way = {name: str(name) for name in roots}
    depth = dict.fromkeys(roots, 0)
    ignored = set(left_out)
    lines: list[str] = []
    queue = deque(roots)
    while queue:
        parent = queue.popleft()
        for key in sorted(incoming.get(parent, ()), key=lambda key: (key.child, key.name)):
            if key.child in ignored or depth.get(key.child, depth[parent] + 1) <= depth[parent]:
                continue
            optional = any((key.child, column) in nullable for column in key.child_columns)
            columns = ", ".join(key.child_columns)
            step = f"{key.child}: {columns} -> {way[parent]}{' (nullable)' if optional else ''}"
            lines.append(step)
            if key.child not in depth:
                depth[key.child] = depth[parent] + 1
                way[key.child] = step.replace(": ", ".", 1)
                queue.append(key.child)
    return tuple(sorted(set(lines)))
