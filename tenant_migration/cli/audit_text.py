"""The audit log for a person: one line an entry, and the verdict over the chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from tenant_migration.cli.output import duration, plain_table, shown
from tenant_migration.planning.counted import counted
from tenant_migration.workflow.audit_log import Entry, Verification

_REASON_LENGTH = 200
_NAMES_SHOWN = 3


def entries_table(entries: Sequence[Entry]) -> Table:
    """Return the entries, oldest first; times in this machine's zone."""
    table = plain_table(
        "#", "When", "Who", "Operation", "Outcome", "What", "Counts", "Why", "Took", numbers_from=8
    )
    for entry in entries:
        who = entry.actor if entry.actor == entry.database_role else f"{entry.actor} as {entry.database_role}"
        table.add_row(
            str(entry.seq),
            entry.occurred_at.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
            shown(who),
            entry.operation if entry.run_id is None else f"{entry.operation} (run {entry.run_id})",
            entry.outcome,
            _what(entry),
            ", ".join(f"{name} {_number(value)}" for name, value in entry.counts.items()),
            _why(entry),
            "" if entry.duration_ms is None else duration(entry.duration_ms / 1000),
        )
    return table


def sum_line(shown_entries: int, total: int) -> str:
    """Say how many there are, and how to see the rest."""
    if shown_entries < total:
        return f"The newest {shown_entries:,} of {counted(total, 'entry', 'entries')}; --limit 0 shows all."
    return f"{counted(total, 'entry', 'entries')}."


def verified_line(verification: Verification) -> str:
    """Say what was checked and held."""
    held = len(verification.kept.lines)
    entries = counted(verification.chain.anchor.entries, "entry", "entries")
    anchors = f" and the log holds {counted(held, 'anchor')} of {verification.kept.path}" if held else ""
    return f"The audit log is whole: {entries}, every seal holds{anchors}."


def verification_json(verification: Verification) -> dict[str, Any]:
    """Return the verdict for a program."""
    return {
        "sound": not verification.problems,
        "entries": verification.chain.anchor.entries,
        "head": verification.chain.anchor.head,
        "firstBadEntry": verification.chain.first_bad_seq,
        "anchorsFile": str(verification.kept.path),
        "anchors": len(verification.kept.lines),
        "problems": list(verification.problems),
        "notes": list(verification.notes),
    }


def _what(entry: Entry) -> str:
    tables = [entry.table_name] if entry.table_name else _names(entry.detail.get("tables"))
    tenants = [entry.tenant_id] if entry.tenant_id else _names(entry.detail.get("tenants"))
    parts = [_some(tables, "table"), _some(tenants, "tenant")]
    return "; ".join(filter(None, parts))


def _some(names: Sequence[str], noun: str) -> str:
    if not names:
        return ""
    if len(names) > _NAMES_SHOWN:
        return counted(len(names), noun)
    return f"{noun} {', '.join(shown(name) for name in names)}"


def _names(value: Any) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []


def _why(entry: Entry) -> str:
    reason = str(entry.detail.get("error") or entry.detail.get("reason") or "")
    text = shown(" ".join(reason.split()))
    return text if len(text) <= _REASON_LENGTH else f"{text[: _REASON_LENGTH - 3]}..."


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
