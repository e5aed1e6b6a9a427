"""Fifteen ways in which a migrated database can be wrong, and which check says so.

The rows of the detection matrix. What is said to be unseen by an application is planted as such: in one
transaction that stands in the rows and in the journal's batches, as if it were the one that migrated them.
"""

from __future__ import annotations

from collections.abc import Callable

from tenant_migration.integrity.model import Phase
from tenant_migration_tests.integrity.defects import Defect
from tenant_migration_tests.integrity.world import LINE_ITEMS, UUID_TENANTS, World, organization_of

_AFTER: Phase = "post-migration"
_ONE, _TWO = UUID_TENANTS
_ORGANIZATION_OF_ONE, _ORGANIZATION_OF_TWO = organization_of(_ONE), organization_of(_TWO)
_ALPHA, _BETA = organization_of("alpha"), organization_of("beta")
_ITEMS = 'app."Line%Items"'


def _sql(text: str) -> Callable[[World], object]:
    return lambda world: world.execute(text)


def _unguarded(text: str) -> Callable[[World], object]:
    return lambda world: world.execute_unguarded(text)


def journal_of(world: World, table: str) -> str:
    return f"tenant_migration.journal_{world.table_id(table)}"


def in_its_batch(world: World, table: str, statement: str) -> None:
    """Execute it as if it had been part of the transaction that migrated the table's rows."""
    quoted = _ITEMS if table == LINE_ITEMS else table
    world.execute_unguarded(
        f"UPDATE {quoted} SET organization_id = organization_id WHERE organization_id IS NOT NULL; "
        f"{statement}; UPDATE {journal_of(world, table)} SET xid = pg_current_xact_id()"
    )


def _in_its_batch(table: str, statement: str) -> Callable[[World], object]:
    return lambda world: in_its_batch(world, table, statement)


def _forget(world: World) -> None:
    world.execute(
        """
        UPDATE {} SET row_count = row_count - 1,
            tenant_numbers = tenant_numbers[:place - 1] || tenant_numbers[place + 1:],
            fingerprints = fingerprints[:place - 1] || fingerprints[place + 1:],
            key_1 = key_1[:place - 1] || key_1[place + 1:]
        FROM (SELECT batch_id AS batch, array_position(key_1, 101) AS place FROM {}) AS found
        WHERE batch_id = batch AND place IS NOT NULL
        """.format(*[journal_of(world, "public.claims")] * 2)
    )


def _remember_a_value_that_was_not_there(world: World) -> None:
    journal = journal_of(world, "public.claims")
    world.execute(
        f"UPDATE {journal} SET previous_values[array_position(key_1, 101)] = '{_BETA}' "
        "WHERE 101 = ANY (key_1)"
    )


CORRUPTIONS = (
    Defect(
        "rows_have_organization",
        _AFTER,
        "one organization NULL",
        _sql("UPDATE claims SET organization_id = NULL WHERE id = 101"),
        table="public.claims",
        count=1,
        examples=("101",),
        tenants={"alpha": 1},
        column="organization_id",
    ),
    Defect(
        "organization_matches_mapping",
        _AFTER,
        "one wrong organization",
        _sql(f"UPDATE {_ITEMS} SET organization_id = '{_BETA}' WHERE \"Id\" = 11"),
        table=LINE_ITEMS,
        count=1,
        examples=("Id=11, part=part",),
        tenants={_ONE: 1},
        column="organization_id",
    ),
    Defect(
        "organization_matches_mapping",
        _AFTER,
        "two rows exchanged their organizations",
        _sql(
            f"UPDATE {_ITEMS} SET organization_id = CASE \"Id\" WHEN 11 THEN '{_ORGANIZATION_OF_TWO}'::uuid "
            f"ELSE '{_ORGANIZATION_OF_ONE}' END WHERE \"Id\" IN (11, 21)"
        ),
        table=LINE_ITEMS,
        count=2,
        examples=("Id=11, part=part", "Id=21, part=part"),
        tenants=dict.fromkeys(UUID_TENANTS, 1),
        column="organization_id",
    ),
    Defect(
        "nothing_lost",
        _AFTER,
        "a row deleted",
        _sql("DELETE FROM claims WHERE id = 202"),
        table="public.claims",
        count=1,
        examples=("202",),
        tenants={"alpha-two": 1},
    ),
    Defect(
        "nothing_lost",
        _AFTER,
        "a row deleted and another one of its tenant duplicated",
        _sql(
            "DELETE FROM claims WHERE id = 303; INSERT INTO claims "
            "SELECT 304, tenant_id, user_id, reviewer_id, note, organization_id FROM claims WHERE id = 302"
        ),
        table="public.claims",
        count=1,
        examples=("303",),
        tenants={"beta": 1},
    ),
    Defect(
        "content_unchanged",
        _AFTER,
        "another column changed",
        _in_its_batch("public.claims", "UPDATE claims SET note = 'other' WHERE id = 101"),
        table="public.claims",
        count=1,
        examples=("101",),
        tenants={"alpha": 1},
    ),
    Defect(
        "content_unchanged",
        _AFTER,
        "NULL became an empty text",
        _in_its_batch("public.claims", "UPDATE claims SET note = '' WHERE id = 303"),
        table="public.claims",
        count=1,
        examples=("303",),
        tenants={"beta": 1},
    ),
    Defect(
        "content_unchanged",
        _AFTER,
        "a numeric lost a zero",
        _in_its_batch(LINE_ITEMS, f'UPDATE {_ITEMS} SET "Amount" = trim_scale("Amount") WHERE "Id" = 12'),
        table=LINE_ITEMS,
        count=1,
        examples=("Id=12, part=part",),
        tenants={_ONE: 1},
    ),
    Defect(
        "rows_stay_in_tenant",
        _AFTER,
        "tenant and organization changed together",
        _sql(
            f"UPDATE {_ITEMS} SET \"tenantId\" = '{_TWO}', organization_id = '{_ORGANIZATION_OF_TWO}' "
            'WHERE "Id" = 13'
        ),
        table=LINE_ITEMS,
        count=1,
        examples=("Id=13, part=part",),
        tenants={_ONE: 1},
        column="tenantId",
        also=frozenset({"content_changed_since"}),
    ),
    Defect(
        "nothing_lost",
        _AFTER,
        "a whole tenant lost",
        _sql("DELETE FROM claims WHERE tenant_id = 'beta'"),
        table="public.claims",
        count=3,
        examples=("301", "302", "303"),
        tenants={"beta": 3},
    ),
    Defect(
        "organizations_exist",
        _AFTER,
        "an organization deleted",
        _unguarded(f"DELETE FROM organizations WHERE id = '{_BETA}'"),
        table="public.claims",
        count=3,
        examples=("301", "302", "303"),
        tenants={"beta": 3},
        column="organization_id",
    ),
    Defect(
        "journal_matches_rows",
        _AFTER,
        "a row that the journal does not have",
        _forget,
        table="public.claims",
        count=1,
        examples=("alpha: 2 in the journal, 3 recorded",),
        tenants={"alpha": 1},
    ),
    Defect(
        "journal_matches_rows",
        _AFTER,
        "a previous value that was not there",
        _remember_a_value_that_was_not_there,
        table="public.claims",
        count=1,
        examples=("alpha: 1 with a previous value that was not there",),
        tenants={"alpha": 1},
    ),
    Defect(
        "mapping_as_migrated",
        _AFTER,
        "the mapping edited after the run",
        _unguarded(f"UPDATE tenant_org_mappings SET organization_id = '{_ALPHA}' WHERE tenant_id = '{_ONE}'"),
        table=LINE_ITEMS,
        count=1,
        examples=(_ONE,),
        tenants={_ONE: 1},
        also=frozenset({"organization_matches_mapping"}),
    ),
    Defect(
        "content_unchanged",
        _AFTER,
        "two exchanges of values that cancel each other",
        _in_its_batch(
            LINE_ITEMS,
            f'UPDATE {_ITEMS} AS t SET "Amount" = o."Amount" FROM {_ITEMS} AS o WHERE o."Id" = '
            'CASE t."Id" WHEN 11 THEN 12 WHEN 12 THEN 11 WHEN 21 THEN 22 WHEN 22 THEN 21 END',
        ),
        table=LINE_ITEMS,
        count=4,
        examples=tuple(f"Id={number}, part=part" for number in (11, 12, 21, 22)),
        tenants=dict.fromkeys(UUID_TENANTS, 2),
    ),
)
