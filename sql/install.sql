-- Installs or upgrades tenant_migration. Re-runnable. Needs the rights of the database's owner, no more.
--   psql -f sql/install.sql                          for public.organizations(id, parent_id)
--   psql -v interface_schema=app -v organizations_table=orgs -f sql/install.sql
\set ON_ERROR_STOP on
\if :{?interface_schema} \else \set interface_schema public \endif
\if :{?organizations_schema} \else \set organizations_schema :interface_schema \endif
\if :{?organizations_table} \else \set organizations_table organizations \endif
\if :{?organizations_id} \else \set organizations_id id \endif
\if :{?organizations_parent_id} \else \set organizations_parent_id parent_id \endif
\if :{?organization_column} \else \set organization_column organization_id \endif
\if :{?tenant_key_columns} \else \set tenant_key_columns '{tenant_id}' \endif
BEGIN;
\ir 010_schema.sql
\ir 020_mappings.sql
\ir 030_state.sql
COMMIT;
