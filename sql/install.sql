-- Installs or upgrades tenant_migration in the database that psql is connected to. Re-runnable.
-- Needs the rights of the database's owner, no more; removed without a trace by uninstall.sql.
--
--   psql -v ON_ERROR_STOP=1 -f sql/install.sql          for public.organizations(id uuid, parent_id uuid)
--   psql -v interface_schema=app -v organizations_table=orgs -f sql/install.sql
--
-- Variables: interface_schema, organizations_schema, organizations_table, organizations_id,
-- organizations_parent_id, organization_column, tenant_key_columns. One that is not given keeps the value of
-- the installation that is there, else takes the default below.
\set ON_ERROR_STOP on
\set QUIET on
\set schema_version 2
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'tenant_migration' AND c.relname = 'settings'
      AND pg_catalog.pg_has_role(n.nspowner, 'USAGE')    -- else 005_requirements.sql says what is wrong
) AS installed \gset
\if :installed
SELECT interface_schema AS known_interface_schema,
       organizations_schema AS known_organizations_schema,
       organizations_table AS known_organizations_table,
       organizations_id AS known_organizations_id,
       coalesce(organizations_parent_id, 'parent_id') AS known_organizations_parent_id,
       organization_column AS known_organization_column,
       tenant_key_columns::text AS known_tenant_key_columns
FROM tenant_migration.settings \gset
\else
\set known_interface_schema public
\if :{?interface_schema} \set known_organizations_schema :interface_schema \else \set known_organizations_schema public \endif
\set known_organizations_table organizations
\set known_organizations_id id
\set known_organizations_parent_id parent_id
\set known_organization_column organization_id
\set known_tenant_key_columns '{tenant_id}'
\endif
\if :{?interface_schema} \else \set interface_schema :known_interface_schema \endif
\if :{?organizations_schema} \else \set organizations_schema :known_organizations_schema \endif
\if :{?organizations_table} \else \set organizations_table :known_organizations_table \endif
\if :{?organizations_id} \else \set organizations_id :known_organizations_id \endif
\if :{?organizations_parent_id} \else \set organizations_parent_id :known_organizations_parent_id \endif
\if :{?organization_column} \else \set organization_column :known_organization_column \endif
\if :{?tenant_key_columns} \else \set tenant_key_columns :known_tenant_key_columns \endif
BEGIN;
\ir 000_session.sql
\ir 005_requirements.sql
\ir 010_schema.sql
\ir 020_mappings.sql
\ir 030_state.sql
\ir 040_canonical_key.sql
\ir 050_transitions.sql
\ir 060_leases.sql
\ir 070_audit.sql
\ir 080_mapping_rules.sql
\ir 090_mapping_status.sql
\ir 100_scope.sql
\ir 110_progress.sql
\ir 120_readiness.sql
\ir 130_reset.sql
\ir 140_recovery.sql
\ir 145_truncations.sql
\ir 150_backups.sql
\ir 155_fingerprints.sql
\ir 160_verdicts.sql
\ir 200_roles.sql
\ir 210_rights.sql
COMMIT;
\echo tenant_migration is installed; its tables and functions for you are in schema :interface_schema
