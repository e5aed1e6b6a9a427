"""Reads `sql/` the way psql does: the order of `install.sql`, and `:"name"`, `:'name'` filled in.

Belongs here: text in, text out; nothing is executed. Only what our own files use is understood.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from psycopg import sql

from tenant_migration.resources import resource_path

INSTALL_FILE = "install.sql"

_INCLUDE = re.compile(r"^\\ir\s+(\S+)\s*$", re.MULTILINE)
_SCHEMA_VERSION = re.compile(r"^\\set schema_version (\d+)$", re.MULTILINE)
_TOKEN = re.compile(
    r"""
      (?P<comment> --[^\n]* )
    | (?P<body> \$(?P<tag>[A-Za-z_]*)\$ .*? \$(?P=tag)\$ )
    | (?P<literal> '(?:[^']|'')*' )
    | (?P<name> "(?:[^"]|"")*" )
    | (?<!:) : (?P<quote>["']) (?P<variable>[a-z_]+) (?P=quote)
    """,
    re.VERBOSE | re.DOTALL,
)


def schema_version() -> int:
    """Return the version that this release's `install.sql` installs."""
    found = _SCHEMA_VERSION.search(_read(INSTALL_FILE))
    if found is None:
        raise ValueError(f"{INSTALL_FILE} does not set schema_version")
    return int(found.group(1))


def installation_files() -> list[Path]:
    """Return the files that `install.sql` includes, in its order."""
    folder = resource_path("sql")
    return [folder / name for name in _INCLUDE.findall(_read(INSTALL_FILE))]


def fill_in(text: str, variables: Mapping[str, str]) -> str:
    """Replace `:"name"` by a quoted identifier and `:'name'` by a literal, outside of bodies and strings.

    Raises:
        KeyError: a variable that is not in `variables`.
    """

    def replacement(match: re.Match[str]) -> str:
        variable = match.group("variable")
        if variable is None:
            return match.group(0)
        value = variables[variable]
        return sql.quote(value) if match.group("quote") == "'" else '"' + value.replace('"', '""') + '"'

    return _TOKEN.sub(replacement, text)


def _read(name: str) -> str:
    return (resource_path("sql") / name).read_text(encoding="utf-8")
