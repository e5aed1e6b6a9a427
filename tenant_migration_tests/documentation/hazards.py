"""The page of hazards: read from the source, since most appear only in an awkward database."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tenant_migration_tests.documentation import ROOT, sources

FOLDER = ROOT / "tenant_migration" / "planning" / "hazards"
LEVELS = {"refuse": "REFUSE", "warn": "WARN", "info": "INFO", "report": "REFUSE or WARN"}
"""Function -> level; `report` is either, by the configuration."""


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Yield name, level, what is there and the way out of every hazard."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in LEVELS:
                name, detail, way_out = (_said(argument) for argument in node.args)
                found[name, LEVELS[node.func.id], detail] = way_out
    for (name, level, detail), way_out in sorted(found.items()):
        yield f"`{name}`", level, detail, way_out


def _said(argument: ast.AST) -> str:
    return re.sub(f"{sources.FILLED_IN}+", "…", sources.text_of(argument)) or "said by `plan`"
