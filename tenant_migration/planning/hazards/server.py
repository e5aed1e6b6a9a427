"""The database as a whole: the server, what there is to migrate, what reacts to our DDL."""

from __future__ import annotations

from collections.abc import Iterator

from tenant_migration.planning.hazards.context import DatabaseContext, info, refuse
from tenant_migration.planning.model import Hazard


def standby(context: DatabaseContext) -> Iterator[Hazard]:
    """Refuse a server that nothing can be written to."""
    server = context.catalog.server
    if server.in_recovery:
        yield refuse(
            "standby",
            f"{server.host or 'the server'} is a standby (in recovery): nothing can be written",
            "connect to the primary",
        )


def no_tables(context: DatabaseContext) -> Iterator[Hazard]:
    """Refuse a database in which there is nothing to migrate: checks over no table would pass."""
    if not context.discovery.managed:
        excluded = context.discovery.excluded
        left_out = f" but those left out ({', '.join(map(str, excluded[:10]))})" if excluded else ""
        yield refuse(
            "no_tables",
            f"no table carries the tenant key {' or '.join(context.config.tenant_key_columns)}{left_out}",
            "check tenant_key_columns and schemas in the configuration, and the database that the URL names",
        )


def event_triggers(context: DatabaseContext) -> Iterator[Hazard]:
    """Tell of event triggers: each of our DDL statements fires them."""
    names = context.catalog.server.event_triggers
    if names:
        yield info(
            "event_triggers",
            f"each ALTER TABLE and CREATE INDEX fires: {', '.join(names)}; a warning of theirs is no error",
            "nothing to do",
        )


def ambiguous_names(context: DatabaseContext) -> Iterator[Hazard]:
    """Refuse two managed tables that are written alike because a name has a dot in it."""
    managed = {str(found.name) for found in context.discovery.managed}
    for text in sorted(managed & context.discovery.names.ambiguous):
        yield refuse(
            "ambiguous_name",
            f"two tables are written {text}, since a schema or a table has a dot in its name",
            "rename one of them, or leave its schema out with schemas.exclude",
        )
