"""What the code can say: every text in it, with what is filled in left out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from tenant_migration_tests.documentation import ROOT

FILLED_IN = "\0"
"""In the place of what is filled in."""


def texts() -> Iterator[str]:
    """Yield the texts of the package, and those that the database raises."""
    for path in sorted((ROOT / "tenant_migration").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = text_of(node)
            if text:
                yield text
    for path in sorted((ROOT / "sql").glob("*.sql")):
        for raised in re.findall(r"RAISE EXCEPTION\s+((?:'(?:[^']|'')*'\s*)+)", path.read_text("utf-8")):
            parts = re.findall(r"'((?:[^']|'')*)'", raised)
            yield "".join(parts).replace("%", FILLED_IN).replace("''", "'")


def text_of(node: ast.AST) -> str:
    """Return what a string says; empty: it is none, or all of it is filled in elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or FILLED_IN for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (text_of(node.left) or FILLED_IN) + (text_of(node.right) or FILLED_IN)
    return ""


def has_in_order(text: str, parts: Sequence[str]) -> bool:
    """Say whether a text has the parts, one behind the other."""
    place = 0
    for part in parts:
        found = text.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return True
