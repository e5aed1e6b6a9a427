-- Tenants and the organizations they go to. The names are the users' own.

CREATE TABLE IF NOT EXISTS :"interface_schema".tenant_org_mappings (
    tenant_id        text PRIMARY KEY,
    organization_id  uuid NOT NULL REFERENCES :"organizations_schema".:"organizations_table" (:"organizations_id"),
    migration_status text NOT NULL DEFAULT 'pending'
        CHECK (migration_status IN ('pending', 'in_progress', 'completed', 'failed', 'rolled_back')),
    migrated_at      timestamptz,
    migrated_by      text,
    record_count     bigint NOT NULL DEFAULT 0 CHECK (record_count >= 0),
    error_log        text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS tenant_org_mappings_organization_id_idx
    ON :"interface_schema".tenant_org_mappings (organization_id);
CREATE INDEX IF NOT EXISTS tenant_org_mappings_migration_status_idx
    ON :"interface_schema".tenant_org_mappings (migration_status);

-- A number for every tenant that ever had a mapping: what journals store instead of the id (4 bytes).
-- Kept when the mapping is deleted, so that a journal can always be read.
CREATE TABLE IF NOT EXISTS tenant_migration.tenants (
    tenant_number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id     text NOT NULL UNIQUE
);

-- The same table under a name that does not depend on the configuration, for bodies of functions.
CREATE OR REPLACE VIEW tenant_migration.tenant_org_mappings WITH (security_invoker = true) AS
    SELECT * FROM :"interface_schema".tenant_org_mappings;
