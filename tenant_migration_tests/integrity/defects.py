"""For every check, how its defect comes into a healthy database, and exactly what the check must say then.

The registry of checks is compared with this list: a check without a planted defect fails the suite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tenant_migration.integrity.model import Phase
from tenant_migration_tests.integrity.world import TENANTS, UUID_TENANTS, World, organization_of

_BEFORE: Phase = "pre-migration"
_AFTER: Phase = "post-migration"


@dataclass(frozen=True)
class Defect:
    """One way to break one thing."""

    check: str
    phase: Phase
    label: str
    plant: Callable[[World], object]
    table: str | None
    count: int
    examples: tuple[str, ...]
    """With `*` where the place of a row without a key is not ours to say."""
    tenants: dict[str, int] | None = None
    """What `details["tenants"]` must be; None: the check does not know tenants."""
    column: str | None = None
    also: frozenset[str] = field(default_factory=frozenset)
    """Checks that cannot but see it too."""
    prepare: Callable[[World], object] = lambda world: None
    """What must be there before the check has something to look at; no defect by itself."""
    blinds: bool = False
    """Whether checks that read the table's rows cannot run any more, and say so."""

    def __str__(self) -> str:
        return f"{self.phase}-{self.check}-{self.label}"


def _sql(text: str) -> Callable[[World], object]:
    return lambda world: world.execute(text)


def _unguarded(text: str) -> Callable[[World], object]:
    return lambda world: world.execute_unguarded(text)


def _journal(statement: str, table: str) -> Callable[[World], object]:
    return lambda world: world.execute(statement.format(f"tenant_migration.journal_{world.table_id(table)}"))


def _foreign_key_not_valid(world: World) -> None:
    ((name,),) = world.execute(
        "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = 'claims'::regclass "
        "AND confrelid = 'organizations'::regclass"
    )
    world.execute(f"ALTER TABLE claims DROP CONSTRAINT {name}")
    world.execute(
        f"ALTER TABLE claims ADD CONSTRAINT {name} FOREIGN KEY (organization_id) "
        f"REFERENCES organizations NOT VALID"
    )


def _drop_organization_index(world: World) -> None:
    ((name,),) = world.execute(
        "SELECT object_name FROM tenant_migration.created_objects WHERE kind = 'index' AND table_id = %s",
        world.table_id("public.claims"),
    )
    world.execute(f"DROP INDEX {name}")


_ALPHA, _BETA, _O_BRIEN = organization_of("alpha"), organization_of("beta"), organization_of("O'Brien Local")
_FEDERATION = "00000000-0000-4000-8000-000000000002"
_REPEAT_A_KEY = """
    INSERT INTO {0} (run_id, leaf, phase, row_count, xid, tenant_numbers, key_1, fingerprints)
    SELECT run_id, leaf, 'sweep', 1, xid, tenant_numbers[place:place], key_1[place:place],
           fingerprints[place:place]
    FROM {0}, array_position(key_1, 101) AS place WHERE place IS NOT NULL
"""
_FORGET_A_KEY = """
    UPDATE {0} SET row_count = row_count - 1,
        tenant_numbers = tenant_numbers[:array_position(key_1, 101) - 1]
            || tenant_numbers[array_position(key_1, 101) + 1:],
        fingerprints = fingerprints[:array_position(key_1, 101) - 1]
            || fingerprints[array_position(key_1, 101) + 1:],
        key_1 = array_remove(key_1, 101)
    WHERE 101 = ANY (key_1)
"""

DEFECTS = (
    # ---- before ----
    Defect(
        "organizations_exist",
        _BEFORE,
        "organization deleted behind the foreign key",
        _unguarded(f"DELETE FROM organizations WHERE id = '{_ALPHA}'"),
        table=None,
        count=1,
        examples=("alpha",),
        tenants={"alpha": 1},
    ),
    Defect(
        "duplicate_mappings",
        _BEFORE,
        "one uuid in two spellings",
        _sql(
            f"INSERT INTO tenant_org_mappings (tenant_id, organization_id) "
            f"VALUES (upper('{UUID_TENANTS[0]}'), '{_FEDERATION}')"
        ),
        table=None,
        count=1,
        examples=(f"{UUID_TENANTS[0].upper()} = {UUID_TENANTS[0]}",),
        also=frozenset({"similar_mappings"}),
    ),
    Defect(
        "duplicate_slugs",
        _BEFORE,
        "two organizations with one slug",
        _sql(f"UPDATE organizations SET slug = 'twice' WHERE id IN ('{_ALPHA}', '{_BETA}')"),
        table=None,
        count=1,
        examples=("twice",),
    ),
    Defect(
        "circular_organizations",
        _BEFORE,
        "two organizations above each other",
        _sql(
            f"UPDATE organizations SET parent_id = "
            f"CASE id WHEN '{_ALPHA}' THEN '{_BETA}'::uuid ELSE '{_ALPHA}' END "
            f"WHERE id IN ('{_ALPHA}', '{_BETA}')"
        ),
        table=None,
        count=2,
        examples=(_ALPHA, _BETA),
    ),
    Defect(
        "circular_organizations",
        _BEFORE,
        "an organization above itself",
        _sql(f"UPDATE organizations SET parent_id = id WHERE id = '{_BETA}'"),
        table=None,
        count=1,
        examples=(_BETA,),
    ),
    Defect(
        "tenants_have_mapping",
        _BEFORE,
        "a tenant nobody mapped",
        _sql("INSERT INTO claims VALUES (1, 'ghost', NULL, NULL, ''), (2, 'ghost', NULL, NULL, '')"),
        table="public.claims",
        column="tenant_id",
        count=1,
        examples=("ghost",),
    ),
    Defect(
        "tenants_have_mapping",
        _BEFORE,
        "an uuid nobody mapped, in a quoted table",
        _sql("INSERT INTO app.\"Line%Items\" VALUES (1, 'p', '6f1b5e0a-0000-4000-8000-0000000000ff', 1)"),
        table="app.Line%Items",
        column="tenantId",
        count=1,
        examples=("6f1b5e0a-0000-4000-8000-0000000000ff",),
    ),
    Defect(
        "null_tenant_keys",
        _BEFORE,
        "rows without a tenant in a partition",
        _sql("UPDATE readings SET tenant_id = NULL WHERE id IN (11, 12)"),
        table="public.readings",
        column="tenant_id",
        count=2,
        examples=("id=11, taken_on=2025-03-01", "id=12, taken_on=2026-03-01"),
    ),
    Defect(
        "existing_values_disagree",
        _BEFORE,
        "a row with another organization",
        _sql(
            "ALTER TABLE claims ADD COLUMN organization_id uuid; "
            f"UPDATE claims SET organization_id = '{_ALPHA}' WHERE id = 101; "
            f"UPDATE claims SET organization_id = '{_BETA}' WHERE id IN (102, 103)"
        ),
        table="public.claims",
        column="organization_id",
        count=2,
        examples=("102", "103"),
        tenants={"alpha": 2},
    ),
    Defect(
        "unique_collisions",
        _BEFORE,
        "one address in two tenants of one organization",
        _sql("UPDATE profiles SET email = 'both@example.org' WHERE id IN (11, 21)"),
        table="public.profiles",
        count=1,
        examples=(f"profiles_tenant_id_email_key ({_ALPHA},both@example.org)",),
        prepare=World.let_two_tenants_share,
        also=frozenset({"tenants_share_organization"}),
    ),
    Defect(
        "organization_collisions",
        _BEFORE,
        "two tenants of one organization with one shelf",
        _sql("INSERT INTO archive VALUES (1, 'alpha', NULL, 'A'), (2, 'alpha-two', NULL, 'A')"),
        table="public.archive",
        count=1,
        examples=("archive_organization_id_shelf_key (*,A)",),
        prepare=World.let_two_tenants_share,
        also=frozenset({"tenants_share_organization"}),
    ),
    Defect(
        "identical_rows",
        _BEFORE,
        "a row three times",
        _sql("INSERT INTO ledger SELECT 102, 'same', '{}' FROM generate_series(1, 3)"),
        table="public.ledger",
        count=2,
        examples=("3 times: public.ledger (0,*)",),
    ),
    Defect(
        "foreign_keys_valid",
        _BEFORE,
        "a foreign key added NOT VALID",
        _sql(
            "ALTER TABLE claims DROP CONSTRAINT claims_user_id_fkey, ADD CONSTRAINT claims_user_id_fkey "
            "FOREIGN KEY (user_id) REFERENCES profiles NOT VALID"
        ),
        table="public.claims",
        count=1,
        examples=("claims_user_id_fkey",),
    ),
    Defect(
        "orphans",
        _BEFORE,
        "a configured relation that leads nowhere",
        _sql("UPDATE claims SET reviewer_id = 999 WHERE id IN (101, 203)"),
        table="public.claims",
        column="reviewer_id",
        count=2,
        examples=("101", "203"),
    ),
    Defect(
        "orphans",
        _BEFORE,
        "a parent deleted behind a valid foreign key",
        _unguarded("DELETE FROM profiles WHERE id = 11"),
        table="public.claims",
        column="user_id",
        count=3,
        examples=("101", "102", "103"),
    ),
    Defect(
        "references_stay_in_organization",
        _BEFORE,
        "a claim of one organization on a profile of another",
        _sql("UPDATE claims SET user_id = 31 WHERE id = 101"),
        table="public.claims",
        column="user_id",
        count=1,
        examples=("101",),
        tenants={"alpha": 1},
        also=frozenset({"references_stay_in_tenant"}),
    ),
    # ---- after ----
    Defect(
        "circular_organizations",
        _AFTER,
        "an organization put under its own child",
        _sql(
            f"UPDATE organizations SET parent_id = '{_ALPHA}' "
            f"WHERE id = '00000000-0000-4000-8000-000000000001'"
        ),
        table=None,
        count=3,
        examples=(
            "00000000-0000-4000-8000-000000000001",
            "00000000-0000-4000-8000-000000000002",
            _ALPHA,
        ),
    ),
    Defect(
        "failed_pairs",
        _AFTER,
        "a tenant whose migration failed in one table",
        _sql(
            "UPDATE tenant_migration.table_states AS s SET state = 'failed', reason = 'planted'"
            " FROM tenant_migration.managed_tables AS t, tenant_migration.tenants AS n"
            " WHERE t.table_id = s.table_id AND n.tenant_number = s.tenant_number"
            " AND t.table_name = 'archive' AND n.tenant_id = 'beta'"
        ),
        table=None,
        count=1,
        examples=("public.archive: 1",),
        tenants={"beta": 1},
    ),
    Defect(
        "pending_pairs",
        _AFTER,
        "a tenant that came later",
        _sql(f"INSERT INTO tenant_org_mappings (tenant_id, organization_id) VALUES ('new', '{_BETA}')"),
        table=None,
        count=6,
        examples=tuple(
            f"{table}: 1"
            for table in (
                "app.Line%Items",
                "public.archive",
                "public.ledger",
                "public.profiles",
                "public.claims",
                "public.readings",
            )
        ),
        tenants={"new": 6},
    ),
    Defect(
        "tenants_have_mapping",
        _AFTER,
        "a tenant born during the run",
        _sql("INSERT INTO claims VALUES (1, 'ghost', NULL, NULL, '')"),
        table="public.claims",
        column="tenant_id",
        count=1,
        examples=("ghost",),
    ),
    Defect(
        "rows_have_organization",
        _AFTER,
        "organizations taken away",
        _sql("UPDATE claims SET organization_id = NULL WHERE id IN (101, 303)"),
        table="public.claims",
        column="organization_id",
        count=2,
        examples=("101", "303"),
        tenants={"alpha": 1, "beta": 1},
    ),
    Defect(
        "rows_have_organization",
        _AFTER,
        "rows inserted without one, in a partition",
        _sql("INSERT INTO readings (id, taken_on, tenant_id) VALUES (1, '2026-05-05', '100%')"),
        table="public.readings",
        column="organization_id",
        count=1,
        examples=("id=1, taken_on=2026-05-05",),
        tenants={"100%": 1},
    ),
    Defect(
        "organizations_exist",
        _AFTER,
        "organization deleted behind the foreign key",
        _unguarded(f"DELETE FROM organizations WHERE id = '{_BETA}'"),
        table="public.claims",
        column="organization_id",
        count=3,
        examples=("301", "302", "303"),
        tenants={"beta": 3},
    ),
    Defect(
        "organization_matches_mapping",
        _AFTER,
        "rows in another organization, without a key",
        _sql(f"UPDATE ledger SET organization_id = '{_ALPHA}' WHERE tenant_id = 101 AND entry = 'entry 2'"),
        table="public.ledger",
        column="organization_id",
        count=1,
        examples=("public.ledger (0,*)",),
        tenants={"101": 1},
    ),
    Defect(
        "organization_matches_mapping",
        _AFTER,
        "a mapping edited behind the guard",
        _unguarded(
            f"UPDATE tenant_org_mappings SET organization_id = '{_ALPHA}' "
            f"WHERE tenant_id = '{UUID_TENANTS[0]}'"
        ),
        table="app.Line%Items",
        column="organization_id",
        count=4,
        examples=("Id=11, part=part", "Id=12, part=part", "Id=13, part=part", "Id=14, part=part"),
        tenants={UUID_TENANTS[0]: 4},
        also=frozenset({"mapping_as_migrated"}),
    ),
    Defect(
        "organization_matches_mapping",
        _AFTER,
        "two rows that exchanged their organizations",
        _sql(
            f'UPDATE app."Line%Items" SET organization_id = '
            f"CASE \"Id\" WHEN 11 THEN '{organization_of(UUID_TENANTS[1])}'::uuid "
            f"ELSE '{organization_of(UUID_TENANTS[0])}' END WHERE \"Id\" IN (11, 21)"
        ),
        table="app.Line%Items",
        column="organization_id",
        count=2,
        examples=("Id=11, part=part", "Id=21, part=part"),
        tenants=dict.fromkeys(UUID_TENANTS, 1),
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
        "a row deleted and another one inserted in its place",
        _sql(
            f"DELETE FROM claims WHERE id = 303; "
            f"INSERT INTO claims VALUES (304, 'beta', 31, 32, '', '{_BETA}')"
        ),
        table="public.claims",
        count=1,
        examples=("303",),
        tenants={"beta": 1},
    ),
    Defect(
        "nothing_lost",
        _AFTER,
        "a row without a key deleted",
        _sql("DELETE FROM ledger WHERE tenant_id = 102 AND entry = 'entry 1'"),
        table="public.ledger",
        count=1,
        examples=(),
        tenants={"102": 1},
    ),
    Defect(
        "journal_matches_rows",
        _AFTER,
        "a key that is journaled twice",
        _journal(_REPEAT_A_KEY, "public.claims"),
        table="public.claims",
        count=1,
        examples=("101", "alpha: 4 in the journal, 3 recorded"),
        tenants={"alpha": 1},
    ),
    Defect(
        "journal_matches_rows",
        _AFTER,
        "a row that the journal forgot",
        _journal(_FORGET_A_KEY, "public.claims"),
        table="public.claims",
        count=1,
        examples=("alpha: 2 in the journal, 3 recorded",),
        tenants={"alpha": 1},
    ),
    Defect(
        "indexes_valid",
        _AFTER,
        "an index that a crash left INVALID",
        _unguarded(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'claims_organization_id_idx'::regclass"
        ),
        table="public.claims",
        column="organization_id",
        count=1,
        examples=("public.claims_organization_id_idx",),
    ),
    Defect(
        "indexes_valid",
        _AFTER,
        "an index that is gone",
        _drop_organization_index,
        table="public.claims",
        column="organization_id",
        count=1,
        examples=("public.claims_organization_id_idx",),
    ),
    Defect(
        "foreign_keys_validated",
        _AFTER,
        "a foreign key that was never validated",
        _foreign_key_not_valid,
        table="public.claims",
        column="organization_id",
        count=1,
        examples=("public.claims.claims_organization_id_fkey",),
    ),
    Defect(
        "child_matches_parent",
        _AFTER,
        "a claim in another organization than its profile",
        _sql(f"UPDATE claims SET organization_id = '{_O_BRIEN}', reviewer_id = NULL WHERE id = 101"),
        table="public.claims",
        column="user_id",
        count=1,
        examples=("101",),
        tenants={"alpha": 1},
        also=frozenset({"organization_matches_mapping", "content_changed_since"}),
    ),
    Defect(
        "references_stay_in_organization",
        _AFTER,
        "a claim of one organization on a profile of another",
        _sql("UPDATE claims SET user_id = 31 WHERE id = 101"),
        table="public.claims",
        column="user_id",
        count=1,
        examples=("101",),
        tenants={"alpha": 1},
        also=frozenset({"content_changed_since"}),
    ),
)

assert len(TENANTS) == 10, "the counts above are for this world"
