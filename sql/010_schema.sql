-- The private schema, and what this installation is about.

CREATE SCHEMA IF NOT EXISTS tenant_migration;
REVOKE ALL ON SCHEMA tenant_migration FROM PUBLIC;

CREATE TABLE IF NOT EXISTS tenant_migration.settings (
    singleton               boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    schema_version          integer NOT NULL,
    interface_schema        name NOT NULL,
    organizations_schema    name NOT NULL,
    organizations_table     name NOT NULL,
    organizations_id        name NOT NULL,
    organizations_parent_id name,                         -- NULL: the table has no such column
    organization_column     name NOT NULL,
    tenant_key_columns      name[] NOT NULL,
    allowed_unmapped_tenants text[] NOT NULL DEFAULT '{}',
    mapping_generation      bigint NOT NULL DEFAULT 1,    -- raised by every change of a mapping and by `cache`
    emergency_stop          boolean NOT NULL DEFAULT false, -- read by every batch
    installed_at            timestamptz NOT NULL DEFAULT now(),
    upgraded_at             timestamptz NOT NULL DEFAULT now()
);

-- An installation stays what it is, whoever updates the settings: another interface schema or other organizations
-- would leave the mappings, the audit log and their references behind.
CREATE OR REPLACE FUNCTION tenant_migration.keep_installation() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.schema_version < OLD.schema_version THEN
        RAISE EXCEPTION 'database % holds schema version % of tenant_migration, this release knows %',
            current_database(), OLD.schema_version, NEW.schema_version
            USING ERRCODE = 'TM001', HINT = 'Use the release that installed it, or a later one.';
    END IF;
    IF NEW.interface_schema <> OLD.interface_schema THEN
        RAISE EXCEPTION 'tenant_migration is installed with interface_schema %, not %',
            OLD.interface_schema, NEW.interface_schema
            USING ERRCODE = 'TM001',
                  HINT = format('Set interface_schema to %s, or remove the installation first (sql/uninstall.sql).',
                                OLD.interface_schema);
    END IF;
    IF (NEW.organizations_schema, NEW.organizations_table, NEW.organizations_id) IS DISTINCT FROM
       (OLD.organizations_schema, OLD.organizations_table, OLD.organizations_id) THEN
        RAISE EXCEPTION 'tenant_migration is installed for organizations %.% (%), not %.% (%)',
            OLD.organizations_schema, OLD.organizations_table, OLD.organizations_id,
            NEW.organizations_schema, NEW.organizations_table, NEW.organizations_id
            USING ERRCODE = 'TM001',
                  HINT = 'Name the installed ones, or remove the installation first (sql/uninstall.sql).';
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER keep_installation
    BEFORE UPDATE OF schema_version, interface_schema, organizations_schema, organizations_table, organizations_id
    ON tenant_migration.settings FOR EACH ROW EXECUTE FUNCTION tenant_migration.keep_installation();

INSERT INTO tenant_migration.settings AS s
    (schema_version, interface_schema, organizations_schema, organizations_table, organizations_id,
     organizations_parent_id, organization_column, tenant_key_columns)
SELECT :'schema_version', :'interface_schema', :'organizations_schema', :'organizations_table', :'organizations_id',
       (SELECT a.attname
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = :'organizations_schema' AND c.relname = :'organizations_table'
          AND a.attname = :'organizations_parent_id' AND a.attnum > 0 AND NOT a.attisdropped),
       :'organization_column', :'tenant_key_columns'::name[]
ON CONFLICT (singleton) DO UPDATE SET
    schema_version = excluded.schema_version,
    organizations_parent_id = excluded.organizations_parent_id,
    organization_column = excluded.organization_column,
    tenant_key_columns = excluded.tenant_key_columns,
    upgraded_at = now();
