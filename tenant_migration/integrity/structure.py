"""Reads a table's structure as it is now: the triggers it fires, a computed target, where it refers to.

What a trigger does is judged from its source as the plan judges it, but as the source is now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tenant_migration.catalog.functions import called, read_functions_that_cannot_write
from tenant_migration.catalog.model import Trigger
from tenant_migration.catalog.triggers import read_triggers
from tenant_migration.integrity.facts import Connection
from tenant_migration.integrity.scope import FiringTrigger, ReferenceElsewhere, Structure
from tenant_migration.planning.created import CreatedObjects, read_created_objects
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.planning.trigger_effects import Effects, Firing, effects, firing

_RELATIONS = """
SELECT w.number, p.oid::bigint, pn.nspname || '.' || p.relname, coalesce(a.attgenerated <> '', false)
FROM unnest(%(schemas)s::text[], %(names)s::text[], %(columns)s::text[])
     WITH ORDINALITY AS w(table_schema, table_name, column_name, number)
JOIN pg_namespace AS n ON n.nspname = w.table_schema
JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.table_name
LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = w.column_name AND NOT a.attisdropped
JOIN pg_class AS p ON p.oid = c.oid OR p.oid IN (SELECT relid FROM pg_partition_tree(c.oid))
JOIN pg_namespace AS pn ON pn.oid = p.relnamespace
ORDER BY w.number, p.oid
"""


# One that compares periods is left out: its columns alone do not say which rows are orphans.
_REFERENCES = """
SELECT k.conrelid::bigint, k.conname::text, cn.nspname::text, c.relname::text, c.relkind = 'p',
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u(number, place)
             JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.number ORDER BY u.place),
       pn.nspname::text, p.relname::text, p.relkind = 'p',
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u(number, place)
             JOIN pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = u.number ORDER BY u.place),
       ARRAY(SELECT format('OPERATOR(%%I.%%s)', n.nspname, o.oprname)
             FROM unnest(k.conpfeqop) WITH ORDINALITY AS u(operator, place)
             JOIN pg_operator AS o ON o.oid = u.operator JOIN pg_namespace AS n ON n.oid = o.oprnamespace
             ORDER BY u.place)
FROM pg_constraint AS k
JOIN pg_class AS c ON c.oid = k.conrelid JOIN pg_namespace AS cn ON cn.oid = c.relnamespace
JOIN pg_class AS p ON p.oid = k.confrelid JOIN pg_namespace AS pn ON pn.oid = p.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = ANY (%(oids)s::oid[])
  AND coalesce(to_jsonb(k) ->> 'conperiod', 'false') = 'false'
ORDER BY k.conname, k.conrelid
"""


def read_structure(
    connection: Connection, plan: Plan, tables: Sequence[TablePlan]
) -> Mapping[str, Structure]:
    """Return the structure of these tables by `schema.table`; one that is gone is left out."""
    if not tables:
        return {}
    given = {
        "schemas": [table.schema_name for table in tables],
        "names": [table.table_name for table in tables],
        "columns": [table.organization_column for table in tables],
    }
    members: dict[int, dict[int, str]] = {}
    computed: dict[int, bool] = {}
    for number, oid, name, is_computed in connection.execute(_RELATIONS, given):
        members.setdefault(number, {})[oid] = name
        computed[number] = is_computed
    triggers = read_triggers(connection, [oid for of_table in members.values() for oid in of_table])
    cannot_write = read_functions_that_cannot_write(
        connection,
        {name for of_table in triggers.values() for trigger in of_table for name in called(trigger)},
    )
    created = read_created_objects(connection)
    references = _references_elsewhere(connection, plan, [oid for found in members.values() for oid in found])
    return {
        tables[number - 1].qualified_name: Structure(
            organization_column_is_generated=computed[number],
            firing_triggers=_firing(
                tables[number - 1],
                [trigger for oid in of_table for trigger in triggers.get(oid, ())],
                cannot_write,
                created,
                tuple(of_table.values()),
            ),
            references_elsewhere=tuple(
                reference for oid in of_table for reference in references.get(oid, ())
            ),
        )
        for number, of_table in members.items()
    }


def _references_elsewhere(
    connection: Connection, plan: Plan, oids: Sequence[int]
) -> dict[int, list[ReferenceElsewhere]]:
    """Return the foreign keys that are no relations of the plan, by the table or partition that has them."""
    relations = {(relation.child, relation.name) for relation in plan.relations}
    found: dict[int, list[ReferenceElsewhere]] = {}
    for oid, name, schema, table, is_partitioned, columns, *parent in connection.execute(
        _REFERENCES, {"oids": list(oids)}
    ):
        if (f"{schema}.{table}", name) in relations:
            continue
        parent_schema, parent_table, parent_is_partitioned, parent_columns, operators = parent
        found.setdefault(oid, []).append(
            ReferenceElsewhere(
                name=name,
                child=(schema, table),
                child_is_partitioned=is_partitioned,
                child_columns=tuple(columns),
                parent=(parent_schema, parent_table),
                parent_is_partitioned=parent_is_partitioned,
                parent_columns=tuple(parent_columns),
                operators=tuple(operators),
            )
        )
    return found


def _firing(
    table: TablePlan,
    triggers: Sequence[Trigger],
    cannot_write: frozenset[str],
    created: CreatedObjects,
    relations: tuple[str, ...],
) -> tuple[FiringTrigger, ...]:
    found: dict[str, FiringTrigger] = {}
    for trigger in triggers:
        if created.has("trigger", trigger.name, relations):
            continue
        if firing(trigger, table.organization_column) is not Firing.FIRES:
            continue
        does = effects(trigger, cannot_write)
        if trigger.name not in found or found[trigger.name].is_harmless:
            found[trigger.name] = FiringTrigger(trigger.name, does.harmless, _in_words(does))
    return tuple(found[name] for name in sorted(found))


def _in_words(does: Effects) -> str:
    words = []
    if does.sets_columns:
        words.append(f"sets {', '.join(does.sets_columns)}")
    if does.writes:
        words.append(f"writes elsewhere ({', '.join(does.writes)})")
    if does.raises:
        words.append("may raise an error")
    if does.skips_rows:
        words.append("may keep a row from being written")
    return ", ".join(words) or "changes nothing else"
