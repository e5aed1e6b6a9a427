"""Names of tables and columns for queries that have parameters."""

from __future__ import annotations

from psycopg import sql


def identifier(*parts: str) -> sql.Identifier:
    """Quote a name, qualified when several parts are given, for a query that is executed with parameters.

    psycopg looks for placeholders in the whole text, quoted names included, so that a table called `10%`
    raises instead of being found. Doubled, the percent sign reaches the server once. For a query without
    parameters use `sql.Identifier`: there nothing is looked for.
    """
    return sql.Identifier(*(part.replace("%", "%%") for part in parts))
