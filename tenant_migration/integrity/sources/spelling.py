"""What is left of a tenant id when it is told apart from others only by slips: the near misses of a mapping.

Equal for `Acme`, `ACME `, a no-break space in it, precomposed and combining accents (NFC, NFD), full-width
letters, and for a uuid with and without braces and hyphens.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.sources.tables import mappings

_SPELLING = """
(SELECT CASE WHEN f.folded ~ {uuid} THEN translate(f.folded, {ornaments}, '') ELSE f.folded END
 FROM (SELECT lower(CASE WHEN getdatabaseencoding() = 'UTF8'
                         THEN regexp_replace(normalize({text}, NFKC), {blanks}, '', 'g')
                         ELSE regexp_replace({text}, '[[:space:]]', '', 'g') END) AS folded) AS f)
"""

_BLANKS = r"[[:space:]\u00a0\u200b-\u200d\u2060\ufeff]"
"""Also those that no one sees: zero width, joiners, the byte order mark."""
_UUID = r"^\{?[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}\}?$"
_NOBODY = ("", "null", "(null)", "none", "nil", "undefined", "\\n", "n/a")
"""What stands for no tenant at all where an application, a form or a load wrote it as text."""

_RESEMBLING = """
SELECT u.value, min(m.tenant_id) AS tenant_id
FROM (SELECT w.value, {spelling_of_value} AS spelling FROM ({values}) AS w) AS u
LEFT JOIN (SELECT o.tenant_id, {spelling_of_tenant} AS spelling FROM {mappings} AS o) AS m
       ON m.spelling = u.spelling
WHERE m.tenant_id IS NOT NULL OR u.spelling = ANY ({nobody}::text[])
GROUP BY u.value
"""


def spelling(text: sql.Composable) -> sql.Composed:
    """Return a tenant id without what only slips tell apart."""
    return sql.SQL(_SPELLING).format(
        text=text, uuid=sql.Literal(_UUID), ornaments=sql.Literal("{-}"), blanks=sql.Literal(_BLANKS)
    )


def resembling(values: sql.Composable, interface_schema: str) -> sql.Composed:
    """Return a SELECT of (value, tenant_id): the values that resemble a mapped tenant, or nobody (NULL).

    Args:
        values: SELECT of (value), text.
        interface_schema: where the mapping is.
    """
    return sql.SQL(_RESEMBLING).format(
        values=values,
        spelling_of_value=spelling(sql.Identifier("w", "value")),
        spelling_of_tenant=spelling(sql.Identifier("o", "tenant_id")),
        mappings=mappings(interface_schema),
        nobody=sql.Literal(list(_NOBODY)),
    )
