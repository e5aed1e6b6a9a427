"""The plan as a file below Dagster's home: what the definitions are built from, without asking a database.

Its source is the plan in the private schema of the database; whoever stores that one writes this too.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pydantic import ValidationError

from tenant_migration.errors import ConfigurationError
from tenant_migration.planning.model import Plan
from tenant_migration.quickstart.folders import dagster_home, ensure_dagster_home

FILE_NAME = "plan.json"


def plan_path() -> Path:
    """Return where the plan is."""
    return dagster_home() / FILE_NAME


def write(plan: Plan) -> Path:
    """Replace the file whole: a reader sees the old plan or the new one."""
    path = ensure_dagster_home() / FILE_NAME
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{FILE_NAME}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(plan.model_dump_json(indent=1))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def read() -> Plan | None:
    """Return the plan, or None when none was written.

    Raises:
        ConfigurationError: the file is no plan of this release.
    """
    path = plan_path()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the plan {path} cannot be read: {error}") from error
    try:
        return Plan.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ConfigurationError(
            f"{path} is no plan of this release ({where}: {problem['msg']}): "
            "run `tenant-migration plan --write`"
        ) from error
