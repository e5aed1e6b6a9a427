"""Defects that the checks after a migration find, beside those of `defects.py` and `corruptions.py`."""

from __future__ import annotations

from tenant_migration.integrity.model import Phase
from tenant_migration_tests.integrity.corruptions import in_its_batch, journal_of
from tenant_migration_tests.integrity.defects import Defect
from tenant_migration_tests.integrity.world import LINE_ITEMS, UUID_TENANTS, World, organization_of

_AFTER: Phase = "post-migration"
_BETA = organization_of("beta")


def _edit_the_past(world: World) -> None:
    world.execute_unguarded(
        "ALTER TABLE migration_audit_log DISABLE TRIGGER append_only; "
        "UPDATE migration_audit_log SET actor = 'somebody else' WHERE seq = 1; "
        "ALTER TABLE migration_audit_log ENABLE ALWAYS TRIGGER append_only"
    )


def _edit_mapping_and_rows(world: World) -> None:
    world.execute_unguarded(
        f"UPDATE tenant_org_mappings SET organization_id = '{_BETA}' WHERE tenant_id = '{UUID_TENANTS[0]}'; "
        f"UPDATE app.\"Line%Items\" SET organization_id = '{_BETA}' WHERE \"tenantId\" = '{UUID_TENANTS[0]}'"
    )


def _write_in_a_batch_and_do_not_say_so(world: World) -> None:
    """As a trigger that inserts rows into the table it is on, during the batch."""
    in_its_batch(
        world,
        "public.claims",
        f"INSERT INTO claims VALUES (304, 'beta', NULL, NULL, '', '{_BETA}')",
    )


def _forget_and_lower_the_number(world: World) -> None:
    journal, table_id = journal_of(world, "public.claims"), world.table_id("public.claims")
    world.execute(  # the batch stays, and with it its transaction
        f"UPDATE {journal} SET row_count = row_count - 1, key_1 = key_1[2:], "
        "tenant_numbers = tenant_numbers[2:], fingerprints = fingerprints[2:] WHERE key_1[1] = 101; "
        "UPDATE tenant_migration.table_states AS s SET rows_migrated = s.rows_migrated - 1 "
        "FROM tenant_migration.tenants AS n WHERE n.tenant_number = s.tenant_number "
        f"AND n.tenant_id = 'alpha' AND s.table_id = {table_id}"
    )


def _change_a_row_without_a_key(world: World) -> None:
    """The journal names places, so it is told the new one."""
    row = "tenant_id = 101 AND entry = 'entry 2'"
    ((place,),) = world.execute(f"SELECT ctid::text FROM ledger WHERE {row}")
    world.execute(
        f"UPDATE ledger SET entry = 'other' WHERE {row}; "
        f"UPDATE {journal_of(world, 'public.ledger')} SET xid = pg_current_xact_id(), "
        f"row_ctid[array_position(row_ctid, '{place}')] = (SELECT ctid FROM ledger WHERE entry = 'other') "
        f"WHERE '{place}' = ANY (row_ctid)"
    )


DEFECTS = (
    Defect(
        "organization_parents",
        _AFTER,
        "the federation deleted behind the foreign key",
        lambda world: world.execute_unguarded(
            "DELETE FROM organizations WHERE id = '00000000-0000-4000-8000-000000000002'; "
            "UPDATE organizations SET parent_id = NULL WHERE slug <> 'local beta'"
        ),
        table=None,
        count=1,
        examples=(_BETA,),
    ),
    Defect(
        "audit_chain",
        _AFTER,
        "a row of the audit log edited behind its trigger",
        _edit_the_past,
        table=None,
        count=1,
        examples=("1",),
    ),
    Defect(
        "content_changed_since",
        _AFTER,
        "rows written again, one with the content that it had",
        lambda world: world.execute(
            "UPDATE claims SET note = 'note 1' WHERE id = 101; UPDATE claims SET note = 'x' WHERE id = 102"
        ),
        table="public.claims",
        count=1,
        examples=("102",),
        tenants={"alpha": 1},
    ),
    Defect(
        "content_changed_since",
        _AFTER,
        "a row without a key written again",
        lambda world: world.execute("UPDATE ledger SET extra = '[]' WHERE entry = 'entry 2'"),
        table="public.ledger",
        count=2,
        examples=(),
        tenants={"101": 1, "102": 1},
    ),
    Defect(
        "mapping_as_migrated",
        _AFTER,
        "mapping and rows changed together",
        _edit_mapping_and_rows,
        table=LINE_ITEMS,
        count=1,
        examples=(UUID_TENANTS[0],),
        tenants={UUID_TENANTS[0]: 1},
    ),
    Defect(
        "content_unchanged",
        _AFTER,
        "a row without a key changed",
        _change_a_row_without_a_key,
        table="public.ledger",
        count=1,
        examples=("public.ledger (0,*)",),
        tenants={"101": 1},
    ),
    Defect(
        "journal_matches_rows",
        _AFTER,
        "a row that a batch wrote and does not name",
        _write_in_a_batch_and_do_not_say_so,
        table="public.claims",
        count=1,
        examples=("304",),
        tenants={"beta": 1},
    ),
    Defect(
        "journal_matches_rows",
        _AFTER,
        "an entry that is missing, and the number of entries lowered with it",
        _forget_and_lower_the_number,
        table="public.claims",
        count=1,
        examples=("101",),
        tenants={"alpha": 1},
    ),
)
