"""The plan for a person: rich renderables that read as well in a pipe as on a terminal.

Everything shown is in the plan's JSON too. Levels are words, not only colours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tenant_migration.planning.counted import counted
from tenant_migration.planning.model import Hazard, HazardLevel, Plan, TablePlan

_STYLE = {HazardLevel.REFUSE: "bold red", HazardLevel.WARN: "yellow", HazardLevel.INFO: "dim"}
_NAMES_SHOWN = 5
_KIB = 1024


def plan_as_text(plan: Plan) -> list[RenderableType]:
    """Return what to print, in order: what there is, order and cost, strategies, hazards, what is refused."""
    return [
        _heading(plan),
        _tables(plan),
        *_section("Strategies", _strategies(plan)),
        *_section("Circles of foreign keys, migrated as one group", _circles(plan)),
        *_section("Hazards", _hazards(plan)),
        *_section("Left out by the configuration", (Text(name) for name in plan.excluded)),
        *_section(
            "Without the key; their tenant follows from a parent", (Text(way) for way in plan.derivable)
        ),
        *_section("Will be refused", _refusals(plan)),
    ]


def bytes_as_text(size: float) -> str:
    """Return a size in the unit that leaves one to four digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 10 * _KIB:
            return f"{size:,.0f} {unit}"
        size /= _KIB
    return f"{size:,.0f} TB"


def seconds_as_text(seconds: float) -> str:
    """Return a duration as a person says it."""
    minute, hour = 60, 3600
    if seconds < minute:
        return f"{seconds:,.1f} s"
    if seconds < hour:
        return f"{seconds / minute:,.0f} min"
    return f"{seconds / hour:,.1f} h"


def _heading(plan: Plan) -> RenderableType:
    organizations = f"{plan.organizations.schema_name}.{plan.organizations.table_name}"
    return Group(
        Text(f"Plan for database {plan.database} (PostgreSQL {plan.server_version // 10000})", style="bold"),
        Text(
            f"{counted(len(plan.tables), 'table')} from {' or '.join(plan.tenant_key_columns)}"
            f" to {plan.organization_column}, {counted(len(plan.relations), 'reference')} among them,"
            f" organizations in {organizations}"
        ),
    )


def _tables(plan: Plan) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=bool(plan.tables))
    totals = [_total(plan, "rows"), _total(plan, "wal_bytes"), _total(plan, "heap_growth_bytes")]
    seconds = sum(found.estimate.seconds or 0 for found in plan.tables)
    table.add_column("#", justify="right")
    table.add_column("table", footer="all", overflow="fold")
    table.add_column("tenant key", overflow="fold")
    table.add_column("rows", justify="right", footer=f"~{totals[0]:,}")
    table.add_column("strategy")
    table.add_column("WAL", justify="right", footer=f"~{bytes_as_text(totals[1])}")
    table.add_column("growth", justify="right", footer=f"~{bytes_as_text(totals[2])}")
    table.add_column("time", justify="right", footer=f"~{seconds_as_text(seconds)}")
    table.add_column("after", overflow="fold")
    table.add_column("hazards")
    for found in plan.tables:
        cost = found.estimate
        table.add_row(
            str(found.position + 1),
            found.qualified_name
            + (f" ({counted(len(found.leaves), 'partition')})" if found.partitioned else ""),
            f"{found.tenant_column.name} {_type(found)}",
            "?" if cost.rows is None else f"~{cost.rows:,}",
            found.strategy.value,
            "?" if cost.wal_bytes is None else f"~{bytes_as_text(cost.wal_bytes)}",
            "?" if cost.heap_growth_bytes is None else f"~{bytes_as_text(cost.heap_growth_bytes)}",
            "?" if cost.seconds is None else f"~{seconds_as_text(cost.seconds)}",
            _names(found.depends_on) or "-",
            _levels(found.hazards),
        )
    return Padding(table, (1, 0, 0, 0), expand=False)


def _strategies(plan: Plan) -> Iterator[RenderableType]:
    tables: dict[tuple[str, str], list[str]] = {}
    for found in plan.tables:
        tables.setdefault((found.strategy.value, found.strategy_reason), []).append(found.qualified_name)
    for (strategy, reason), names in sorted(tables.items(), key=lambda item: (-len(item[1]), item[0])):
        yield Text(f"{strategy}, {_tables_of(names)}: {reason}")


def _circles(plan: Plan) -> Iterator[RenderableType]:
    seen: set[int] = set()
    for found in plan.tables:
        if found.component_peers and found.component not in seen:
            seen.add(found.component)
            yield Text(", ".join(sorted([found.qualified_name, *found.component_peers])))


def _hazards(plan: Plan) -> Iterator[RenderableType]:
    """Refusals and warnings table by table; of what only tells, each name once with its tables."""
    yield from (_hazard("database", hazard) for hazard in plan.hazards)
    for level in (HazardLevel.REFUSE, HazardLevel.WARN):
        for found in plan.tables:
            yield from (
                _hazard(found.qualified_name, hazard) for hazard in found.hazards if hazard.level is level
            )
    told: dict[str, list[tuple[str, Hazard]]] = {}
    for found in plan.tables:
        for hazard in found.hazards:
            if hazard.level is HazardLevel.INFO:
                told.setdefault(hazard.name, []).append((found.qualified_name, hazard))
    for of_name in told.values():
        names = list(dict.fromkeys(name for name, _ in of_name))
        example = "" if len(of_name) == 1 else "for example "
        yield _hazard(_tables_of(names), of_name[0][1], before_detail=example)


def _hazard(where: str, hazard: Hazard, before_detail: str = "") -> RenderableType:
    return Group(
        Text.assemble(
            (hazard.level.value.upper(), _STYLE[hazard.level]),
            f" {where}: {hazard.name}: {before_detail}{hazard.detail}",
        ),
        Padding(Text(f"way out: {hazard.way_out}", style="dim"), (0, 0, 0, 4), expand=False),
    )


def _refusals(plan: Plan) -> Iterator[RenderableType]:
    if plan.refusals:
        yield Text(f"every table: {', '.join(hazard.name for hazard in plan.refusals)}", style="bold red")
    for found in plan.tables:
        if found.refusals:
            reasons = ", ".join(dict.fromkeys(hazard.name for hazard in found.refusals))
            yield Text(f"{found.qualified_name}: {reasons}", style="red")


def _section(title: str, lines: Iterable[RenderableType]) -> Iterator[RenderableType]:
    found = list(lines)
    if found:
        yield Padding(Text(title, style="bold"), (1, 0, 0, 0), expand=False)
        yield from (Padding(line, (0, 0, 0, 2), expand=False) for line in found)


def _total(plan: Plan, name: str) -> int:
    return sum(getattr(found.estimate, name) or 0 for found in plan.tables)


def _type(found: TablePlan) -> str:
    column = found.tenant_column
    return (
        column.type_name if column.type_schema == "pg_catalog" else f"{column.type_schema}.{column.type_name}"
    )


def _levels(hazards: Iterable[Hazard]) -> Text:
    levels = [hazard.level for hazard in hazards]
    counts = [(level, levels.count(level)) for level in HazardLevel if level in levels]
    return Text(", ").join(Text(f"{count} {level.value}", style=_STYLE[level]) for level, count in counts)


def _tables_of(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} tables ({_names(names)})"


def _names(names: Iterable[str]) -> str:
    found = list(names)
    more = len(found) - _NAMES_SHOWN
    return ", ".join(found[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
