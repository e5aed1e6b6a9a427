-- How this transaction behaves. One installation at a time; never a wait for a lock without a limit, since
-- the reference to the organizations locks a table that the application uses.

SET LOCAL client_min_messages = warning;    -- "already exists, skipping" is what re-runnable means
SET LOCAL lock_timeout = '5s';
SET LOCAL row_security = off;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL check_function_bodies = on;

-- The variables, readable inside of bodies too.
SET LOCAL tenant_migration.schema_version = :'schema_version';
SET LOCAL tenant_migration.interface_schema = :'interface_schema';
SET LOCAL tenant_migration.organizations_schema = :'organizations_schema';
SET LOCAL tenant_migration.organizations_table = :'organizations_table';
SET LOCAL tenant_migration.organizations_id = :'organizations_id';
SET LOCAL tenant_migration.organizations_parent_id = :'organizations_parent_id';

DO $$ BEGIN PERFORM pg_advisory_xact_lock(hashtextextended('tenant_migration install', 0)); END $$;
