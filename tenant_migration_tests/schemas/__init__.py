"""Small schemas with one property of real ones each, for every test that needs it.

`NAME.sql` makes and fills the tables, as the database's owner. `NAME.superuser.sql`, where there is one, is
run before it as a superuser. `organizations.sql` comes first, except for the schemas that bring organizations
of their own (`organizations_*`). Organization number n has the id `organization(n)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

import psycopg
from psycopg import sql

_FOLDER = Path(__file__).parent
_BASE = "organizations"

NAMES = tuple(
    sorted(
        path.stem
        for path in _FOLDER.glob("*.sql")
        if not path.stem.endswith(".superuser") and path.stem != _BASE
    )
)
"""Every schema that can be loaded."""


def load(connection: psycopg.Connection, name: str, *, superuser: psycopg.Connection | None = None) -> None:
    """Create and fill a schema.

    Args:
        connection: as the database's owner.
        name: one of `NAMES`.
        superuser: to the same database, for schemas that need one.
    """
    if name not in NAMES:
        raise ValueError(f"no schema {name!r}; there are {', '.join(NAMES)}")
    if not name.startswith("organizations_"):
        _run(connection, f"{_BASE}.sql")
    if needs_superuser(name):
        if superuser is None:
            raise ValueError(f"the schema {name!r} needs a superuser's connection")
        _run(superuser, f"{name}.superuser.sql")
    _run(connection, f"{name}.sql")


def needs_superuser(name: str) -> bool:
    """Say whether `load` needs a superuser's connection for this schema."""
    return (_FOLDER / f"{name}.superuser.sql").exists()


def organization(number: int) -> UUID:
    """Return the id of an organization of `organizations.sql`: 0 is the root, 1 to 5 are below it."""
    return UUID(int=0xA0000000_0000_4000_8000_000000000000 + number)


def map_tenants(
    connection: psycopg.Connection, mapping: Mapping[str, int], *, interface_schema: str = "public"
) -> None:
    """Insert mappings, tenant -> number of its organization; needs the installed schema."""
    statement = sql.SQL(
        "INSERT INTO {}.tenant_org_mappings (tenant_id, organization_id) VALUES (%s, %s)"
    ).format(sql.Identifier(interface_schema))
    with connection.cursor() as cursor:
        cursor.executemany(statement, [(tenant, organization(number)) for tenant, number in mapping.items()])


def _run(connection: psycopg.Connection, file: str) -> None:
    connection.execute((_FOLDER / file).read_text(encoding="utf-8"))
