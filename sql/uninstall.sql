-- Removes every trace of tenant_migration from the database that psql is connected to.
--   psql -f sql/uninstall.sql
--
-- What goes: the schema tenant_migration with plans, states, journals and backups (afterwards nothing can be rolled
-- back); tenant_org_mappings and migration_audit_log; the three functions; our triggers on application tables; the
-- rights of the three group roles here, and the roles themselves where allowed and not in use by another database.
-- What stays: the application's tables as they are now, with the organization columns, indexes and foreign keys
-- that were added and filled. To take those away, run `tenant-migration rollback --all --drop-created` first; to
-- keep the history, export the audit log first: \copy public.migration_audit_log TO 'audit.csv' CSV HEADER
-- Refused while a run is working. Not there: nothing happens.

\set ON_ERROR_STOP on
BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL lock_timeout = '5s';
SET LOCAL search_path = pg_catalog, pg_temp;

DO $$
DECLARE
    interface name;
    holder    text;
    object    record;
    role_name text;
BEGIN
    IF EXISTS (SELECT FROM pg_namespace WHERE nspname = 'tenant_migration' AND NOT pg_has_role(nspowner, 'USAGE')) THEN
        RAISE EXCEPTION 'uninstall refused: schema tenant_migration belongs to role %',
            (SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'tenant_migration')
            USING ERRCODE = 'TM004', HINT = 'Run it as that role, or as a member of it.';
    END IF;
    IF to_regclass('tenant_migration.settings') IS NULL THEN
        RETURN;
    END IF;
    EXECUTE 'SELECT interface_schema FROM tenant_migration.settings' INTO interface;

    EXECUTE 'LOCK TABLE tenant_migration.leases IN ACCESS EXCLUSIVE MODE';
    EXECUTE 'SELECT l.holder FROM tenant_migration.leases l WHERE l.expires_at > clock_timestamp() LIMIT 1' INTO holder;
    IF holder IS NOT NULL THEN
        RAISE EXCEPTION 'uninstall refused: % is working', holder
            USING ERRCODE = 'TM004', HINT = 'Stop it first: tenant-migration cancel';
    END IF;

    -- 1. Triggers of ours on application tables, by what they call: a schema in use cannot be dropped.
    FOR object IN
        SELECT t.tgname, t.tgrelid::regclass AS relation
        FROM pg_trigger t
        JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
        JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
        WHERE n.nspname = 'tenant_migration' AND cn.nspname <> 'tenant_migration' AND t.tgparentid = 0
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', object.tgname, object.relation);
    END LOOP;

    -- 2. The users' own names, then our schema. CASCADE there: everything in it is ours.
    EXECUTE format('DROP FUNCTION IF EXISTS %1$I.get_migration_progress(), %1$I.validate_migration_readiness(), '
                   '%1$I.reset_migration()', interface);
    EXECUTE 'DROP VIEW IF EXISTS tenant_migration.tenant_org_mappings, tenant_migration.migration_audit_log';
    EXECUTE format('DROP TABLE IF EXISTS %1$I.tenant_org_mappings, %1$I.migration_audit_log', interface);
    EXECUTE 'DROP SCHEMA tenant_migration CASCADE';

    -- 3. The group roles: their rights here, then themselves.
    FOREACH role_name IN ARRAY '{tenant_migration_owner,tenant_migration_operator,tenant_migration_reader}'::text[] LOOP
        CONTINUE WHEN NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name);
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', interface, role_name);
        BEGIN
            EXECUTE format('DROP ROLE %I', role_name);
        EXCEPTION WHEN insufficient_privilege OR dependent_objects_still_exist THEN
            RAISE INFO 'role % stays: %', role_name, SQLERRM;
        END;
    END LOOP;
END $$;
COMMIT;
