-- The private schema and what this installation is about.
-- Variables (psql -v name=value; defaults in install.sql): interface_schema, organizations_schema,
-- organizations_table, organizations_id, organizations_parent_id, organization_column, tenant_key_columns.

CREATE SCHEMA IF NOT EXISTS tenant_migration;
REVOKE ALL ON SCHEMA tenant_migration FROM PUBLIC;

CREATE TABLE IF NOT EXISTS tenant_migration.settings (
    singleton               boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    schema_version          integer NOT NULL,
    interface_schema        name NOT NULL,
    organizations_schema    name NOT NULL,
    organizations_table     name NOT NULL,
    organizations_id        name NOT NULL,
    organizations_parent_id name,
    organization_column     name NOT NULL,
    tenant_key_columns      name[] NOT NULL,
    allowed_unmapped_tenants text[] NOT NULL DEFAULT '{}',
    mapping_generation      bigint NOT NULL DEFAULT 1,    -- raised by every change of a mapping and by `cache`
    emergency_stop          boolean NOT NULL DEFAULT false, -- read by every batch
    installed_at            timestamptz NOT NULL DEFAULT now(),
    upgraded_at             timestamptz NOT NULL DEFAULT now()
);
