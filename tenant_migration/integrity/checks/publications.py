"""Published tables without a replica identity: PostgreSQL refuses every UPDATE of them (55000)."""

from __future__ import annotations

from psycopg import sql

from tenant_migration.integrity.check import TableCheck, Verdict
from tenant_migration.integrity.scope import TableScope
from tenant_migration.integrity.sources.catalog import MEMBERS, OF_MEMBERS, table_and_partitions
from tenant_migration.integrity.verdict import first_examples, verdict

# A partition is published with any table above it; rows are written under its own name.
_LEAVES = """
SELECT c.oid::regclass::text AS example, p.names AS publications,
       cardinality(p.names) > 0 AND NOT CASE c.relreplident
           WHEN 'f' THEN true
           WHEN 'n' THEN false
           WHEN 'd' THEN EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary
                                 AND i.indisvalid AND i.indimmediate)
           ELSE EXISTS (SELECT FROM pg_index AS i
                        WHERE i.indrelid = c.oid AND i.indisreplident AND i.indisvalid) END AS is_refused
FROM pg_class AS c CROSS JOIN LATERAL (
    SELECT ARRAY(
        SELECT b.pubname::text FROM pg_publication AS b
        WHERE b.pubupdate AND c.relpersistence = 'p' AND (
            b.puballtables
            OR EXISTS (SELECT FROM pg_publication_rel AS r WHERE r.prpubid = b.oid AND (
                   r.prrelid = c.oid OR r.prrelid IN (SELECT pg_partition_ancestors(c.oid))))
            OR EXISTS (SELECT FROM pg_publication_namespace AS s
                       JOIN pg_class AS a ON a.relnamespace = s.pnnspid
                       WHERE s.pnpubid = b.oid AND (
                           a.oid = c.oid OR a.oid IN (SELECT pg_partition_ancestors(c.oid)))))
        ORDER BY 1) AS names) AS p
WHERE c.oid IN ({relations}) AND c.relkind = 'r'
"""

_DETAILS = """
jsonb_build_object('publications', ARRAY(
    SELECT DISTINCT n.name
    FROM ({leaves}) AS l CROSS JOIN LATERAL unnest(l.publications) AS n(name) ORDER BY 1))
"""


def _leaves(relations: sql.Composed) -> sql.Composed:
    return sql.SQL(_LEAVES).format(relations=relations)


def _refused(relations: sql.Composed) -> sql.Composed:
    return sql.SQL("SELECT l.example, l.publications FROM ({}) AS l WHERE l.is_refused").format(
        _leaves(relations)
    )


def _build(scope: TableScope) -> Verdict:
    return verdict(
        rows_checked=sql.SQL("count(*)"),
        count=sql.SQL("count(*) FILTER (WHERE l.is_refused)"),
        source=sql.SQL("({}) AS l").format(_leaves(OF_MEMBERS)),
        examples=first_examples(_refused(OF_MEMBERS)),
        details=sql.SQL(_DETAILS).format(leaves=_leaves(OF_MEMBERS)),
        details_when_passed=True,
    )


CHECK = TableCheck(
    name="publications",
    phase="pre-migration",
    severity="critical",
    description="Published tables without a replica identity: PostgreSQL refuses to update them",
    recommendation="ALTER TABLE ... REPLICA IDENTITY USING INDEX a unique index, or FULL; or take the table "
    "out of the publication.",
    examples_are_names=True,
    build=_build,
    source=MEMBERS,
    wrong_rows=lambda scope: _refused(table_and_partitions(scope.table)),
)
