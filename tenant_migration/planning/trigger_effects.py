"""What a trigger of the application would do when the backfill fires it, read from its source.

Errs on the side of danger: what cannot be read (another language, dynamic SQL, a volatile function) counts as
writing elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from tenant_migration.catalog.functions import called_in
from tenant_migration.catalog.model import Trigger

GUARD_SETTING = "tenant_migration.backfill"
GUARD_CONDITION = f"current_setting('{GUARD_SETTING}', true) IS DISTINCT FROM 'on'"


class Firing(Enum):
    """Whether the backfill fires a trigger."""

    FIRES = "fires"
    GUARDED = "guarded"
    """It would, but asks for our setting first."""
    SILENT = "silent"
    """Disabled, for other events or columns, or its WHEN asks for other columns to change."""


@dataclass(frozen=True)
class Effects:
    """What the trigger's function does beside letting the row through."""

    sets_columns: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    """What writes elsewhere, as words: `insert`, `pg_notify()`, `dynamic SQL`."""
    raises: bool = False
    skips_rows: bool = False
    """A BEFORE row trigger that may return NULL or OLD: the row keeps its old organization, silently."""

    @property
    def harmless(self) -> bool:
        """Whether it does nothing beside letting the row through, as far as its source shows."""
        return not (self.sets_columns or self.writes or self.raises or self.skips_rows)


# Names before a parenthesis that are no function calls.
_SYNTAX = frozenset(
    """
    all and any array as between by case cast check coalesce conflict declare distinct do else elsif
    except exists extract filter from greatest grouping having if ilike in insert into intersect is join
    key lateral least like limit loop new not nullif old on or order over overlay partition position raise
    return row select set similar substring then trim union unique update using values when where while
    with within xmlelement bit char character decimal float int interval numeric time timestamp
    timestamptz varbit varchar
    """.split()  # noqa: SIM905 - a hundred words read better as text
)
# VOLATILE by name only: they give a value and change nothing that another session's data depends on.
_VOLATILE_BUT_HARMLESS = frozenset(
    """
    clock_timestamp gen_random_bytes gen_random_uuid nextval pg_current_xact_id random timeofday txid_current
    uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4 uuidv4 uuidv7
    """.split()  # noqa: SIM905 - a hundred words read better as text
)
# Trigger functions in C whose effect is known from PostgreSQL's documentation.
_KNOWN_IN_C: dict[str, Effects] = {
    "suppress_redundant_updates_trigger": Effects(),
    "moddatetime": Effects(sets_columns=("the column it is given",)),
    "tsvector_update_trigger": Effects(sets_columns=("the column it is given",)),
    "tsvector_update_trigger_column": Effects(sets_columns=("the column it is given",)),
}
_READABLE_LANGUAGES = frozenset({"plpgsql", "sql"})

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_LITERAL = re.compile(r"[eE]?'(?:[^'\\]|''|\\.)*'")
_NAME = r'(?:"[^"]+"|[a-z_][\w$]*)'
_ASSIGNED = re.compile(rf"\bnew\s*\.\s*({_NAME})\s*(?:\[[^\]]*\]\s*)?(?::=|=)", re.IGNORECASE)
_STATEMENT_START = re.compile(r"(?:^|;|\bbegin\b|\bthen\b|\belse\b|\bloop\b|>>)\s*$", re.IGNORECASE)
_WHOLE_ROW = re.compile(
    r"\bnew\s*:=|\binto\s+(?:strict\s+)?new\b(?!\s*\.)|populate_record\s*\(\s*new\b", re.IGNORECASE
)
_INTO_NEW_COLUMN = re.compile(rf"\binto\s+(?:strict\s+)?new\s*\.\s*({_NAME})", re.IGNORECASE)
_WRITES = {
    "insert": re.compile(r"\binsert\s+into\b", re.IGNORECASE),
    "update": re.compile(
        r"\bupdate\s+(?:only\s+)?[\w.\"$]+\s+(?:\*\s+)?(?:as\s+)?(?:[\w\"$]+\s+)?set\b", re.IGNORECASE
    ),
    "delete": re.compile(r"\bdelete\s+from\b", re.IGNORECASE),
    "merge": re.compile(r"\bmerge\s+into\b", re.IGNORECASE),
    "truncate": re.compile(r"\btruncate\b", re.IGNORECASE),
    "copy": re.compile(r"\bcopy\b", re.IGNORECASE),
    "call": re.compile(r"\bcall\b", re.IGNORECASE),
    "notify": re.compile(r"(?:^|;|\b(?:begin|then|else|loop))\s*notify\b", re.IGNORECASE),
    "dynamic SQL": re.compile(r"\bexecute\b", re.IGNORECASE),
    "DDL": re.compile(
        r"(?:^|;|\b(?:begin|then|else|loop))\s*(?:create|alter|drop|grant|revoke)\b", re.IGNORECASE
    ),
}
_RAISES = re.compile(r"\braise\b(?!\s+(?:debug|log|info|notice|warning)\b)|\bassert\b", re.IGNORECASE)
_RETURNS_NULL = re.compile(r"\breturn\s+null\b", re.IGNORECASE)
_RETURNS_OLD = re.compile(r"\breturn\s+old\b", re.IGNORECASE)
_BRANCHES_ON_DELETE = re.compile(r"\btg_op\b", re.IGNORECASE)

_SETTING = (
    rf"(?:COALESCE\()?current_setting\('{re.escape(GUARD_SETTING)}'(?:::text)?, true\)(?:, ''(?:::text)?\))?"
)
_GUARD_IN_WHEN = re.compile(rf"{_SETTING} (?:IS DISTINCT FROM|<>) 'on'(?:::text)?", re.IGNORECASE)
_GUARD_IN_BODY = re.compile(
    rf"\bbegin\s+if\s*\(?\s*{_SETTING.replace(', ', r',[ ]*')}\s*=\s*'on'\s*\)?\s*then"
    r"\s+return\s+(?:new|null)\s*;",
    re.IGNORECASE,
)
_OTHER_COLUMN_CHANGES = re.compile(rf"old\.({_NAME}) IS DISTINCT FROM new\.({_NAME})", re.IGNORECASE)
_WHEN = re.compile(r" WHEN \((.*)\) EXECUTE (?:FUNCTION|PROCEDURE) ", re.DOTALL)


def firing(trigger: Trigger, organization_column: str) -> Firing:
    """Say whether an UPDATE that sets the organization column alone fires the trigger.

    Args:
        trigger: from the catalog.
        organization_column: the only column that the backfill sets.
    """
    other_columns = trigger.update_columns and organization_column not in trigger.update_columns
    # The backfill names leaves, never their root: there only what is declared for each row fires.
    of_root = trigger.level == "statement" and trigger.on_partitioned
    disabled = trigger.enabled in ("disabled", "replica")
    if "update" not in trigger.events or disabled or of_root or other_columns:
        return Firing.SILENT
    conjuncts = _conjuncts(when_condition(trigger) or "")
    if any(_asks_for_other_columns(conjunct, organization_column) for conjunct in conjuncts):
        return Firing.SILENT
    if any(_GUARD_IN_WHEN.fullmatch(conjunct) for conjunct in conjuncts):
        return Firing.GUARDED
    if _GUARD_IN_BODY.search(_COMMENT.sub(" ", trigger.function_source)):
        return Firing.GUARDED
    return Firing.FIRES


def effects(trigger: Trigger, cannot_write: Collection[str]) -> Effects:
    """Read from the source what the trigger's function does.

    Args:
        trigger: from the catalog.
        cannot_write: bare names of functions of which every one is STABLE or IMMUTABLE.
    """
    bare_name = trigger.function.rsplit(".", 1)[-1]
    if trigger.language not in _READABLE_LANGUAGES:
        unreadable = Effects(writes=(f"code in {trigger.language} that cannot be read",))
        return _KNOWN_IN_C.get(bare_name, unreadable)
    source = _LITERAL.sub("''", _COMMENT.sub(" ", trigger.function_source))
    before_row = trigger.timing == "before" and trigger.level == "row"
    writes = [word for word, pattern in _WRITES.items() if pattern.search(source)]
    harmless = {*_SYNTAX, *_VOLATILE_BUT_HARMLESS, *cannot_write}
    targets = _insert_targets(source)
    writes += [f"{name}()" for name in sorted(called_in(source) - harmless - targets)]
    return Effects(
        sets_columns=_set_columns(source) if before_row else (),
        writes=tuple(writes),
        raises=bool(_RAISES.search(source)),
        skips_rows=before_row and _may_skip(source),
    )


def when_condition(trigger: Trigger) -> str | None:
    """Return the text of WHEN (...), without the outer parentheses."""
    found = _WHEN.search(trigger.definition) if trigger.has_when else None
    return found.group(1) if found else None


def guard_statement(trigger: Trigger) -> str | None:
    """Return the DDL that guards the trigger; None for a constraint trigger, which cannot be replaced."""
    if not trigger.definition.startswith("CREATE TRIGGER "):
        return None
    condition = when_condition(trigger)
    definition = trigger.definition.replace("CREATE TRIGGER ", "CREATE OR REPLACE TRIGGER ", 1)
    if condition is None:
        return re.sub(
            r" EXECUTE (FUNCTION|PROCEDURE) ", rf" WHEN ({GUARD_CONDITION}) EXECUTE \1 ", definition, count=1
        )
    return definition.replace(f" WHEN ({condition}) ", f" WHEN (({condition}) AND {GUARD_CONDITION}) ", 1)


def _conjuncts(condition: str) -> list[str]:
    """Return the terms of which every one must hold, without the parentheses around them."""
    condition = _without_parentheses(condition.strip())
    if len(_split(condition, "OR")) > 1:
        return [condition]
    terms = _split(condition, "AND")
    return [condition] if len(terms) == 1 else [inner for term in terms for inner in _conjuncts(term)]


def _without_parentheses(condition: str) -> str:
    while condition.startswith("(") and _depths(condition).index(0) == len(condition) - 1:
        condition = condition[1:-1].strip()
    return condition


def _split(condition: str, word: str) -> list[str]:
    """Split at a word that stands outside of parentheses and literals."""
    depths = _depths(condition)
    cuts = [
        found.span()
        for found in re.finditer(rf"\s+{word}\s+", condition, re.IGNORECASE)
        if depths[found.start()] == 0
    ]
    starts = [0, *(end for _, end in cuts)]
    ends = [*(start for start, _ in cuts), len(condition)]
    return [condition[start:end] for start, end in zip(starts, ends, strict=True)]


def _depths(text: str) -> list[int]:
    """Return for each character how many parentheses are open after it; within a literal one more."""
    depths, depth, in_literal = [], 0, False
    for character in text:
        if character == "'":
            in_literal = not in_literal
        elif not in_literal:
            depth += (character == "(") - (character == ")")
        depths.append(depth + in_literal)
    return depths


def _asks_for_other_columns(condition: str, organization_column: str) -> bool:
    """Say whether the condition is only `old.x IS DISTINCT FROM new.x` on columns that we do not set."""
    for term in _split(condition, "OR"):
        found = _OTHER_COLUMN_CHANGES.fullmatch(_without_parentheses(term.strip()))
        if found is None:
            return False
        old, new = (name.strip('"') for name in found.groups())
        if old != new or old == organization_column:
            return False
    return True


def _set_columns(source: str) -> tuple[str, ...]:
    columns = {
        found.group(1).strip('"')
        for found in _ASSIGNED.finditer(source)
        if found.group(0).endswith(":=") or _STATEMENT_START.search(source[: found.start()])
    }
    columns |= {name.strip('"') for name in _INTO_NEW_COLUMN.findall(source)}
    if _WHOLE_ROW.search(source):
        columns.add("the whole row")
    return tuple(sorted(columns))


def _may_skip(source: str) -> bool:
    if _RETURNS_NULL.search(source):
        return True
    return bool(_RETURNS_OLD.search(source)) and not _BRANCHES_ON_DELETE.search(source)


def _insert_targets(source: str) -> frozenset[str]:
    """Return the tables in `INSERT INTO t (a, b)`: names before a parenthesis that are no calls."""
    found = re.findall(r"\binto\s+(?:[\w\"$]+\s*\.\s*)?(\"[^\"]+\"|[\w$]+)\s*\(", source, re.IGNORECASE)
    return frozenset(name[1:-1] if name.startswith('"') else name.lower() for name in found)
