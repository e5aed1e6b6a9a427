"""Defects that the checks before a migration find in the mapping and in the structure: as `defects.py`."""

from __future__ import annotations

from collections.abc import Callable

from tenant_migration.integrity.model import Phase
from tenant_migration_tests.integrity.defects import Defect
from tenant_migration_tests.integrity.world import World, organization_of

_BEFORE: Phase = "pre-migration"
_FEDERATION = "00000000-0000-4000-8000-000000000002"


def _sql(text: str) -> Callable[[World], object]:
    return lambda world: world.execute(text)


_SETS_A_COLUMN = """
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.note := 'stamped'; RETURN NEW; END $$;
CREATE TRIGGER stamped BEFORE UPDATE ON claims FOR EACH ROW EXECUTE FUNCTION stamp()
"""
_LETS_ROWS_THROUGH = """
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER looked BEFORE UPDATE ON readings FOR EACH ROW EXECUTE FUNCTION look()
"""

DEFECTS = (
    Defect(
        "row_security_of_organizations",
        _BEFORE,
        "a policy on the organizations",
        _sql(
            "ALTER TABLE organizations ENABLE ROW LEVEL SECURITY; "
            "ALTER TABLE organizations FORCE ROW LEVEL SECURITY; "
            "CREATE POLICY few ON organizations USING (false)"
        ),
        table=None,
        count=1,
        examples=("public.organizations",),
        blinds=True,
    ),
    Defect(
        "row_security",
        _BEFORE,
        "a policy on a table",
        _sql(
            "ALTER TABLE archive ENABLE ROW LEVEL SECURITY; ALTER TABLE archive FORCE ROW LEVEL SECURITY; "
            "CREATE POLICY own ON archive USING (tenant_id = current_setting('app.tenant', true))"
        ),
        table="public.archive",
        count=1,
        examples=("public.archive",),
        blinds=True,
    ),
    Defect(
        "row_security",
        _BEFORE,
        "no policy on a partition",
        _sql(
            "ALTER TABLE readings_2026 ENABLE ROW LEVEL SECURITY; "
            "ALTER TABLE readings_2026 FORCE ROW LEVEL SECURITY"
        ),
        table="public.readings",
        count=1,
        examples=("public.readings_2026",),
    ),
    Defect(
        "organizations_active",
        _BEFORE,
        "an organization that was closed",
        _sql(f"UPDATE organizations SET is_active = false WHERE id = '{organization_of('beta')}'"),
        table=None,
        count=1,
        examples=("beta",),
        tenants={"beta": 1},
    ),
    Defect(
        "organizations_active",
        _BEFORE,
        "an organization that does not say",
        _sql(f"UPDATE organizations SET is_active = NULL WHERE id = '{organization_of('101')}'"),
        table=None,
        count=1,
        examples=("101",),
        tenants={"101": 1},
    ),
    Defect(
        "references_stay_in_tenant",
        _BEFORE,
        "a claim on a profile of another tenant of its organization",
        _sql("UPDATE claims SET user_id = 21 WHERE id IN (101, 102)"),
        table="public.claims",
        column="user_id",
        count=2,
        examples=("101", "102"),
        tenants={"alpha": 2},
        prepare=World.let_two_tenants_share,
        also=frozenset({"tenants_share_organization"}),
    ),
    Defect(
        "references_stay_in_tenant",
        _BEFORE,
        "a claim on a profile of a tenant that nobody mapped",
        _sql(
            "INSERT INTO profiles VALUES (1, 'system', 's@example.org'); "
            "UPDATE claims SET user_id = 1 WHERE id = 301"
        ),
        table="public.claims",
        column="user_id",
        count=1,
        examples=("301",),
        tenants={"beta": 1},
    ),
    Defect(
        "orphans_elsewhere",
        _BEFORE,
        "a row gone from a table that is not migrated",
        lambda world: world.execute_unguarded("DELETE FROM kinds WHERE kind = 'b'"),
        table="public.claims",
        count=2,
        examples=("claims_kind: 102", "claims_kind: 103"),
        also=frozenset({"foreign_keys_valid"}),
        prepare=_sql(
            "CREATE TABLE kinds (id integer, kind text, PRIMARY KEY (id, kind)); "
            "INSERT INTO kinds VALUES (1, 'a'), (1, 'b'); "
            "ALTER TABLE claims ADD COLUMN kind_id integer, ADD COLUMN kind text, "
            "ADD CONSTRAINT claims_kind FOREIGN KEY (kind_id, kind) REFERENCES kinds NOT VALID; "
            "UPDATE claims SET kind_id = 1, kind = CASE id WHEN 101 THEN 'a' ELSE 'b' END "
            "WHERE id IN (101, 102, 103); UPDATE claims SET kind_id = 2 WHERE id = 201"
        ),
    ),
    Defect(
        "orphans_elsewhere",
        _BEFORE,
        "a foreign key that a partition alone declares",
        lambda world: world.execute_unguarded("DELETE FROM places WHERE id = 11"),
        table="public.readings",
        count=1,
        examples=("own: id=11, taken_on=2025-03-01",),
        prepare=_sql(
            "CREATE TABLE places (id integer PRIMARY KEY); INSERT INTO places SELECT id FROM profiles; "
            "ALTER TABLE readings_2025 ADD CONSTRAINT own FOREIGN KEY (profile_id) REFERENCES places"
        ),
    ),
    Defect(
        "triggers",
        _BEFORE,
        "a trigger that sets a column",
        _sql(_SETS_A_COLUMN),
        table="public.claims",
        count=1,
        examples=("stamped",),
    ),
    Defect(
        "triggers",
        _BEFORE,
        "a trigger that changes nothing, on a partitioned table",
        _sql(_LETS_ROWS_THROUGH),
        table="public.readings",
        count=1,
        examples=("looked",),
    ),
    Defect(
        "publications",
        _BEFORE,
        "a published table without a key",
        _sql("CREATE PUBLICATION stream FOR TABLE ledger, claims"),
        table="public.ledger",
        count=1,
        examples=("public.ledger",),
    ),
    Defect(
        "publications",
        _BEFORE,
        "a partition whose replica identity was taken away",
        _sql(
            "CREATE PUBLICATION stream FOR TABLE readings; ALTER TABLE readings_2025 REPLICA IDENTITY NOTHING"
        ),
        table="public.readings",
        count=1,
        examples=("public.readings_2025",),
    ),
    Defect(
        "generated_columns",
        _BEFORE,
        "a column computed from the tenant key",
        _sql("ALTER TABLE claims ADD COLUMN loud text GENERATED ALWAYS AS (upper(tenant_id)) STORED"),
        table="public.claims",
        count=1,
        examples=("loud",),
    ),
    Defect(
        "generated_columns",
        _BEFORE,
        "an organization that is computed",
        _sql("ALTER TABLE claims ADD COLUMN organization_id uuid GENERATED ALWAYS AS (NULL::uuid) STORED"),
        table="public.claims",
        count=1,
        examples=("organization_id",),
    ),
    Defect(
        "json_tenant_keys",
        _BEFORE,
        "a tenant in a document",
        _sql("""UPDATE ledger SET extra = '{"Tenant-ID": 101, "b": 2}' WHERE tenant_id = 101"""),
        table="public.ledger",
        count=1,
        examples=("extra.Tenant-ID",),
    ),
    Defect(
        "similar_mappings",
        _BEFORE,
        "a tenant in two spellings",
        _sql(
            "INSERT INTO tenant_org_mappings (tenant_id, organization_id) "
            f"VALUES (E'\\u00a0Beta ', '{_FEDERATION}')"
        ),
        table=None,
        count=1,
        examples=("'beta' ~ '\u00a0Beta '",),
    ),
    Defect(
        "tenants_share_organization",
        _BEFORE,
        "two tenants of one organization",
        World.let_two_tenants_share,
        table=None,
        count=1,
        examples=(f"{organization_of('alpha')}: 'alpha', 'alpha-two'",),
    ),
)
