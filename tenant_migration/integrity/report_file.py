"""Writes a report to a file, in the form that its suffix names; all of it or, when that fails, nothing."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tenant_migration.errors import UsageError
from tenant_migration.integrity.page.page import report_as_html
from tenant_migration.integrity.report import Report
from tenant_migration.integrity.report_csv import report_as_csv


def report_as_json(report: Report) -> str:
    """Return the report as it is."""
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


FORMS: Mapping[str, Callable[[Report], str]] = {
    ".json": report_as_json,
    ".html": report_as_html,
    ".csv": report_as_csv,
}


def form_of(path: Path) -> Callable[[Report], str]:
    """Return what makes the text of a file with this suffix.

    Raises:
        UsageError: no form has this suffix; names those that there are.
    """
    form = FORMS.get(path.suffix.lower())
    if form is None:
        raise UsageError(f"{path.name!r} has to end in one of {', '.join(FORMS)}: that says how to write it")
    return form


def write_report(report: Report, path: Path) -> None:
    """Write the report. An earlier one is replaced when this one is whole on the disk.

    Raises:
        UsageError: as `form_of`.
    """
    text = form_of(path)(report)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name survives a crash too
    finally:
        os.close(folder)
