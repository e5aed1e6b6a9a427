"""Finds what is at the top of the repository and inside of the installed package: sql/, dagster.yaml."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def resource_path(name: str) -> Path:
    """Return the path of a shipped file or folder.

    Args:
        name: `sql`, `dagster.yaml` or `workspace.yaml`.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    for folder in (_PACKAGE, _PACKAGE.parent):  # a wheel has it inside the package, a checkout beside it
        candidate = folder / name
        if candidate.exists():
            return candidate
    raise FileNotFoundError(f"{name} is missing from this installation of tenant_migration; install it again")
