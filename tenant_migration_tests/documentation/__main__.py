"""Writes the pages of the reference that come from the code."""

from __future__ import annotations

from tenant_migration_tests.documentation import REFERENCE
from tenant_migration_tests.documentation.reference import pages


def main() -> None:
    """Write every page."""
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
        print(f"docs/reference/{name}")  # noqa: T201


if __name__ == "__main__":
    main()
