"""An application whose tenant key has a different type in every table, as real ones do."""

from __future__ import annotations

from tenant_migration_tests.database.scene import Scene

UUIDS = ("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a22")

MIXED_KEYS = '''
CREATE SCHEMA hr;
CREATE SCHEMA "Odd Schema";
CREATE TYPE hr.plan AS ENUM ('gold', 'silver', 'lead');
CREATE DOMAIN hr.tenant_code AS varchar(6);

CREATE TABLE texts (id int PRIMARY KEY, tenant_id text, organization_id uuid);
CREATE TABLE uuids (id int PRIMARY KEY, tenant_id uuid, organization_id uuid);
CREATE TABLE numbers (id int PRIMARY KEY, tenant_id integer, organization_id uuid);
CREATE TABLE hr.limited (id int PRIMARY KEY, tenant_id varchar(12), organization_id uuid);
CREATE TABLE hr.padded (id int PRIMARY KEY, tenant_id char(8), organization_id uuid);
CREATE TABLE hr.plans (id int PRIMARY KEY, tenant_id hr.plan, organization_id uuid);
CREATE TABLE hr.codes (id int PRIMARY KEY, tenant_id hr.tenant_code, organization_id uuid);
CREATE TABLE "Odd Schema"."Mixed ""Case""" ("Id" int PRIMARY KEY, "tenantId" text, organization_id uuid);
CREATE TABLE parted (id int, tenant_id text, organization_id uuid, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (5);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (5) TO (100);
CREATE TABLE no_organization_column (id int, tenant_id text);
CREATE TABLE other_meaning (id int, tenant_id text, organization_id text);
CREATE TABLE empty_one (id int, tenant_id text, organization_id uuid);
CREATE TABLE nobodys (id int, name text);
CREATE VIEW texts_view AS SELECT * FROM texts;

INSERT INTO texts SELECT g, (ARRAY['acme', 'ACME', 'gold', '007', NULL, 'ghost'])[g % 6 + 1]
    FROM generate_series(1, 60) g;
INSERT INTO uuids SELECT g, (ARRAY[
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a22',
    'c0eebc99-9c0b-4ef8-bb6d-6bb9bd380a33'])[g % 3 + 1]::uuid FROM generate_series(1, 30) g;
INSERT INTO numbers SELECT g, (ARRAY[7, 8])[g % 2 + 1] FROM generate_series(1, 20) g;
INSERT INTO hr.limited SELECT g, 'acme' FROM generate_series(1, 10) g;
INSERT INTO hr.padded SELECT g, 'acme' FROM generate_series(1, 10) g;
INSERT INTO hr.plans SELECT g, (ARRAY['gold', 'lead'])[g % 2 + 1]::hr.plan FROM generate_series(1, 10) g;
INSERT INTO hr.codes SELECT g, 'acme' FROM generate_series(1, 10) g;
INSERT INTO "Odd Schema"."Mixed ""Case""" SELECT g, 'acme' FROM generate_series(1, 10) g;
INSERT INTO parted SELECT g, 'acme' FROM generate_series(1, 10) g;
INSERT INTO no_organization_column SELECT g, 'acme' FROM generate_series(1, 10) g;
INSERT INTO other_meaning SELECT g, 'acme', 'x' FROM generate_series(1, 10) g;
'''

MAPPED = ("acme", "gold", "007", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", f"{{{UUIDS[1]}}}")
"""Tenants of `MIXED_KEYS` that have a mapping; the others are ACME, ghost, 8, lead and one uuid."""

UNMAPPED = 5

EXPECTED_TOTALS = {
    "empty_one": 0,
    "no_organization_column": 10,
    "numbers": 10,
    "other_meaning": 10,
    "parted": 10,
    "texts": 30,
    "uuids": 20,
    "hr.codes": 10,
    "hr.limited": 10,
    "hr.padded": 10,
    "hr.plans": 5,
    'Odd Schema.Mixed "Case"': 10,
}


def create_mixed_keys(scene: Scene) -> None:
    """Create the tables with their rows and the mappings."""
    scene.connection.execute(MIXED_KEYS.encode())
    scene.execute("UPDATE tenant_migration.settings SET tenant_key_columns = '{tenant_id,tenantId}'")
    scene.map(*MAPPED)
