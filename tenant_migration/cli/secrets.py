"""Keeps passwords out of everything that is printed."""

from __future__ import annotations

import os
import re
from urllib.parse import quote, unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tenant_migration.config import DAGSTER_URL_VARIABLE, DATABASE_URL_VARIABLE

_SHORTEST_REPLACED = 4
"""A shorter one would also be found inside ordinary words; in a URL it is found by its place."""

_IN_URL = re.compile(r"(?!://user:password@host)(://[^\s:/@]*:)[^\s@]*@")
"""But not the pattern that our own messages give as advice."""
_IN_KEYWORDS = re.compile(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """Return the text with every known password, and whatever stands where one would, replaced by `***`."""
    for secret in sorted(_known_secrets(), key=len, reverse=True):
        text = text.replace(secret, "***")
    return _IN_KEYWORDS.sub(r"\1***", _IN_URL.sub(r"\1***@", text))


def _known_secrets() -> set[str]:
    secrets = {os.environ.get("PGPASSWORD", "")}
    for variable in (DATABASE_URL_VARIABLE, DAGSTER_URL_VARIABLE):
        url = os.environ.get(variable, "")
        match = _IN_URL.search(url)
        if match:
            secrets.add(match.group(0)[len(match.group(1)) : -1])
        try:
            parameters = conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            continue  # no libpq string: the pattern above had its chance
        secrets.update(str(value) for key, value in parameters.items() if "password" in key)
    spellings = {form for secret in secrets for form in (secret, unquote(secret), quote(secret, safe=""))}
    return {secret for secret in spellings if len(secret) >= _SHORTEST_REPLACED}
