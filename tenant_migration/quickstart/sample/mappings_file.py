"""The mappings as a file, in the form that `mappings --import` reads."""

from __future__ import annotations

import csv
from pathlib import Path

from tenant_migration.quickstart.sample.creation import SampleSummary


def write_mappings(path: Path, summary: SampleSummary) -> None:
    """Write the sample's mappings: every tenant but the one that nobody mapped."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("tenant_id", "organization_id"))
        writer.writerows(summary.mappings)
