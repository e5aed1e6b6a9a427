"""The report as a table for a spreadsheet or a data frame: one line a check."""

from __future__ import annotations

import csv
from typing import Any

COLUMNS = (
    "timestamp",
    "phase",
    "status",
    "check",
    "table",
    "column",
    "tenant",
    "outcome",
    "severity",
    "rows_checked",
    "count",
    "duration_ms",
    "description",
    "example_keys",
    "reason",
    "reproduce",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With one of these a spreadsheet takes the cell for a formula."""


def report_as_csv(report: dict[str, Any]) -> str:
    """Return the report's checks as CSV, with a header.

    A text that a spreadsheet would execute (a tenant named `=1+1`) gets an apostrophe in front; the JSON has
    it as it is.
    """
    import pandas  # noqa: PLC0415 - 0.5 s, and only whoever wants this form pays them

    frame = pandas.DataFrame([_line(report, check) for check in report["checks"]], columns=list(COLUMNS))
    return str(frame.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC))


def _line(report: dict[str, Any], check: dict[str, Any]) -> dict[str, Any]:
    line = {
        **check,
        "timestamp": report["timestamp"],
        "phase": report["phase"],
        "status": report["status"],
        "check": check["name"],
        "example_keys": "; ".join(check.get("exampleIds", ())),
    }
    return {name: _as_cell(line.get(name)) for name in COLUMNS}


def _as_cell(value: Any) -> Any:
    if not isinstance(value, str):
        return "" if value is None else value
    return f"'{value}" if value.startswith(_FORMULA) else value
