"""The pages of `docs/` that are written from the code, and what holds all of them to it.

    python -m tenant_migration_tests.documentation        writes docs/reference anew

Belongs here: the writing of reference pages, and the reading of all pages (links, command lines, YAML). What
a page says beyond that is written by hand in `docs/`.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
COMMAND = "python -m tenant_migration_tests.documentation"
