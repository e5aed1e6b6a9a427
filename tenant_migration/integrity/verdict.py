"""Builds the one row in which every check answers: `rows_checked, expected, count, examples, details`.

Belongs here: the shape of the answer. What is asked belongs to the checks.
"""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import Verdict
from tenant_migration.integrity.model import SAMPLE_LIMIT

_NOTHING_EXPECTED = sql.SQL("NULL")
_NO_DETAILS = sql.SQL("'{}'")
_NO_EXAMPLES = sql.SQL("'{}'")

_VERDICT = """
SELECT v.rows_checked, v.expected, v.count,
       CASE WHEN v.count > 0 THEN {examples} ELSE '{{}}' END AS examples,
       CASE WHEN {with_details} THEN {details} ELSE '{{}}' END AS details
FROM (
    SELECT coalesce({rows_checked}, 0)::bigint AS rows_checked, ({expected})::bigint AS expected,
           coalesce({count}, 0)::bigint AS count
    FROM {source}
) AS v
"""

_TENANTS = """
jsonb_build_object('tenants', (
    SELECT jsonb_object_agg(c.tenant_id, c.wrong)
    FROM (
        SELECT x.tenant_id, sum(x.wrong) AS wrong FROM ({}) AS x WHERE x.wrong > 0 GROUP BY x.tenant_id
    ) AS c))
"""


def verdict(
    *,
    rows_checked: sql.Composable,
    count: sql.Composable,
    source: sql.Composable,
    expected: sql.Composable = _NOTHING_EXPECTED,
    examples: sql.Composable = _NO_EXAMPLES,
    details: sql.Composable = _NO_DETAILS,
    details_when_passed: bool = False,
) -> Verdict:
    """Return the SELECT of a check.

    Args:
        rows_checked: expression: what was looked at.
        count: expression: what is wrong, exact.
        source: what FROM takes; it gives one row.
        expected: expression: how much had to be there to look at; NULL when that is not known.
        examples: expression of type text[]: at most ten. It is asked for only when something is wrong, so
            that a healthy table pays for no second scan.
        details: expression of type jsonb, asked for only when something is wrong.
        details_when_passed: ask for them always; for what costs nothing.
    """
    return sql.SQL(_VERDICT).format(
        rows_checked=rows_checked,
        expected=expected,
        count=count,
        examples=sql.SQL("({})::text[]").format(examples),
        details=sql.SQL("({})::jsonb").format(details),
        with_details=sql.SQL("true" if details_when_passed else "v.count > 0"),
        source=source,
    )


def first_examples(wrong: sql.Composable) -> sql.Composed:
    """Return the first examples of a SELECT that has a column `example`, in order, as text[]."""
    return sql.SQL("ARRAY(SELECT w.example FROM ({}) AS w ORDER BY w.example LIMIT {})").format(
        wrong, sql.Literal(SAMPLE_LIMIT)
    )


def tenants_detail(counted: sql.Composable) -> sql.Composed:
    """Return {"tenants": {tenant id: wrong rows}} from a SELECT of (tenant_id, wrong); tenants may repeat."""
    return sql.SQL(_TENANTS).format(counted)


def judge_scan(
    condition: sql.Composable,
    *,
    wrong_rows: sql.Composable,
    expected: sql.Composable = _NOTHING_EXPECTED,
    by_tenant: bool = True,
) -> Verdict:
    """Return the SELECT of a check that asks the grouped scan: how many rows are in groups like this?

    Args:
        condition: on the columns of `scan`.
        wrong_rows: SELECT of (example) over the table itself, for the examples.
        expected: expression; NULL when it is not known how many rows must be there.
        by_tenant: whether every group that the condition finds has a `tenant_id`.
    """
    wrong = sql.SQL("SELECT scan.tenant_id, scan.row_count AS wrong FROM scan WHERE {}").format(condition)
    return verdict(
        rows_checked=sql.SQL("sum(scan.row_count)"),
        count=sql.SQL("sum(scan.row_count) FILTER (WHERE {})").format(condition),
        source=sql.SQL("scan"),
        expected=expected,
        examples=first_examples(wrong_rows),
        details=tenants_detail(wrong) if by_tenant else _NO_DETAILS,
    )
