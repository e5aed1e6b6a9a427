-- For an administrator (superuser or CREATEROLE), where the installing role may not create roles. Re-runnable.
--   psql -d the_database -f sql/administrator.sql
-- Afterwards the installing role runs `tenant-migration install` (or sql/install.sql) again: it grants these roles
-- what 200_roles.sql says they are for. Then give them to people:
--   GRANT tenant_migration_reader TO anna;
--
-- The migration itself runs as the role that installed, or as a member of it that inherits its rights
-- (GRANT that_role TO the_login): only such a role passes row security without a policy being asked. Source tables
-- that belong to other roles need, for the time of the migration:
--   GRANT SELECT, UPDATE ON the_table TO that_role;    and, where row security is on, BYPASSRLS or its owner's role.

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY '{tenant_migration_owner,tenant_migration_operator,tenant_migration_reader}'::text[] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        END IF;
    END LOOP;
END $$;
