"""Suggestions by id, slug and name for the keys of real tables, and that nothing is written."""

from __future__ import annotations

from dataclasses import dataclass, field

import psycopg
import pytest
from psycopg import sql

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.mapping.suggestions import Suggestion, suggest
from tenant_migration_tests.mapping.organizations import map_tenants, organization


@dataclass(frozen=True)
class Organizations:
    schema_name: str = "public"
    table_name: str = "organizations"
    id_column: str = "id"
    slug_column: str | None = "slug"
    name_column: str | None = "name"


@dataclass(frozen=True)
class Key:
    name: str = "tenant_id"
    type_schema: str = "pg_catalog"
    type_name: str = "text"


@dataclass(frozen=True)
class ManagedTable:
    table_name: str
    tenant_column: Key = Key()
    schema_name: str = "public"
    tenant_index: str | None = None


@dataclass(frozen=True)
class Tables:
    tables: list[ManagedTable]
    organizations: Organizations = field(default_factory=Organizations)


def create_table(
    connection: psycopg.Connection,
    name: str,
    tenants: list[str | None],
    column_type: str = "text",
    index: bool = False,
) -> None:
    table = sql.Identifier("public", name)
    connection.execute(
        sql.SQL("CREATE TABLE {} (id serial, tenant_id {})").format(table, sql.SQL(column_type))  # type: ignore[arg-type]
    )
    connection.execute(
        sql.SQL(
            "INSERT INTO {} (tenant_id) SELECT t::{} FROM unnest({}::text[]) t, generate_series(1, 3)"
        ).format(
            table,
            sql.SQL(column_type),  # type: ignore[arg-type]
            sql.Literal(tenants),
        )
    )
    if index:
        connection.execute(sql.SQL("CREATE INDEX ON {} (tenant_id)").format(table))


def rename(connection: psycopg.Connection, number: int, slug: str | None, name: str | None) -> None:
    connection.execute(
        "UPDATE public.organizations SET slug = %s, name = %s WHERE id = %s",
        [slug, name, organization(number)],
    )


def found(suggestions: list[Suggestion]) -> dict[str, list[tuple[int, str, bool]]]:
    return {
        suggestion.tenant_id: [
            (candidate.organization_id.int, candidate.matched_by, candidate.exact)
            for candidate in suggestion.candidates
        ]
        for suggestion in suggestions
    }


def test_exact_matches_come_before_folded_ones_and_slugs_before_names(
    installed: psycopg.Connection, config: MigrationConfig
) -> None:
    rename(installed, 1, "local-12", "Straße")
    rename(installed, 2, "LOCAL-12", "local-13")
    rename(installed, 3, "local-13", "Twins")
    rename(installed, 4, None, "twins")
    rename(installed, 5, None, "Twins")
    tenants = [
        "local-12",
        "Local-12",
        "local-13",
        "STRASSE",
        "twins",
        "TWINS",
        "nothing",
        str(organization(7)),
    ]
    create_table(installed, "claims", [*tenants, None])
    suggestions = suggest(installed, config, Tables([ManagedTable("claims")]))
    assert found(suggestions) == {
        "local-12": [(1, "slug", True)],
        "Local-12": [(1, "slug", False), (2, "slug", False)],
        "local-13": [(3, "slug", True)],
        "STRASSE": [(1, "name", False)],
        "twins": [(4, "name", True)],
        "TWINS": [(3, "name", False), (4, "name", False), (5, "name", False)],
        "nothing": [],
        str(organization(7)): [(7, "id", True)],
    }
    single = {suggestion.tenant_id for suggestion in suggestions if suggestion.organization_id is not None}
    assert single == {"local-12", "local-13", "STRASSE", "twins", str(organization(7))}


def test_mapped_and_allowed_tenants_are_left_out(installed: psycopg.Connection) -> None:
    config = MigrationConfig.model_validate({"validation": {"allowed_unmapped_tenants": ["system"]}})
    map_tenants(installed, {"mapped": 1})
    create_table(installed, "claims", ["mapped", "system", "org-2"])
    create_table(installed, "documents", ["org-2", "org-3"])
    suggestions = suggest(installed, config, Tables([ManagedTable("claims"), ManagedTable("documents")]))
    assert {suggestion.tenant_id: suggestion.tables for suggestion in suggestions} == {
        "org-2": ("public.claims", "public.documents"),
        "org-3": ("public.documents",),
    }


@pytest.mark.parametrize("index", [False, True], ids=["scan", "index"])
@pytest.mark.parametrize(
    ("column_type", "key", "mapping", "tenants", "expected"),
    [
        ("text", Key(), "mapped", ["mapped", "%s", "Zoë"], ["%s", "Zoë"]),
        ("varchar(20)", Key(type_name="varchar"), "mapped", ["mapped", "b"], ["b"]),
        ("char(8)", Key(type_name="bpchar"), "mapped", ["mapped", "b"], ["b"]),
        ("integer", Key(type_name="int4"), "0012", ["12", "7"], ["7"]),
        ("bigint", Key(type_name="int8"), "12", ["12", "-7"], ["-7"]),
        (
            "uuid",
            Key(type_name="uuid"),
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", str(organization(2))],
            [str(organization(2))],
        ),
        ("public.kind", Key(type_schema="public", type_name="kind"), "mapped", ["mapped", "b"], ["b"]),
        ("public.slug", Key(type_schema="public", type_name="slug"), "mapped", ["mapped", "b"], ["b"]),
    ],
)
def test_keys_of_every_type_are_compared_in_their_own_type(
    *,
    installed: psycopg.Connection,
    config: MigrationConfig,
    index: bool,
    column_type: str,
    key: Key,
    mapping: str,
    tenants: list[str | None],
    expected: list[str],
) -> None:
    installed.execute("CREATE TYPE public.kind AS ENUM ('mapped', 'b')")
    installed.execute("CREATE DOMAIN public.slug AS text CHECK (VALUE <> '')")
    map_tenants(installed, {mapping: 1, "not of this type": 2})
    create_table(installed, "claims", [*tenants, None], column_type, index)
    table = ManagedTable("claims", key, tenant_index="claims_tenant_id_idx" if index else None)
    suggestions = suggest(installed, config, Tables([table]))
    assert [suggestion.tenant_id for suggestion in suggestions] == expected


def test_an_index_is_walked_from_key_to_key(installed: psycopg.Connection, config: MigrationConfig) -> None:
    create_table(installed, "claims", [f"org-{n}" for n in range(40)], index=True)
    table = ManagedTable("claims", tenant_index="claims_tenant_id_idx")
    suggestions = suggest(installed, config, Tables([table]))
    assert [suggestion.tenant_id for suggestion in suggestions] == sorted(f"org-{n}" for n in range(40))


def test_partitions_are_read_through_their_root(
    installed: psycopg.Connection, config: MigrationConfig
) -> None:
    installed.execute("CREATE TABLE public.claims (tenant_id text NOT NULL) PARTITION BY LIST (tenant_id)")
    for tenant in ("org-1", "org-2"):
        installed.execute(
            f"CREATE TABLE public.\"claims {tenant}\" PARTITION OF public.claims FOR VALUES IN ('{tenant}')"
        )
        installed.execute("INSERT INTO public.claims VALUES (%s)", [tenant])
    installed.execute("CREATE INDEX claims_tenant_id_idx ON public.claims (tenant_id)")
    table = ManagedTable("claims", tenant_index="claims_tenant_id_idx")
    assert [s.tenant_id for s in suggest(installed, config, Tables([table]))] == ["org-1", "org-2"]


def test_organizations_without_slug_or_name_are_matched_by_the_rest(
    installed: psycopg.Connection, config: MigrationConfig
) -> None:
    create_table(installed, "claims", ["org-1", "Organization 2"])
    tables = Tables([ManagedTable("claims")], Organizations(slug_column=None))
    assert found(suggest(installed, config, tables)) == {"org-1": [], "Organization 2": [(2, "name", True)]}


def test_nothing_is_written(database: str, installed: psycopg.Connection, config: MigrationConfig) -> None:
    create_table(installed, "claims", ["org-1"])
    with connect(database, read_only=True) as reader:
        assert [s.tenant_id for s in suggest(reader, config, Tables([ManagedTable("claims")]))] == ["org-1"]
    [(count,)] = installed.execute("SELECT count(*) FROM public.tenant_org_mappings")
    assert count == 0
