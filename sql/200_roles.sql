-- Three group roles, for people and programs beside the one that installs and migrates. They belong to the whole
-- server, so making them needs CREATEROLE; without it nothing else is missing, and administrator.sql makes them.
--   tenant_migration_owner     reads and writes all our tables, but not the past (audit log)
--   tenant_migration_operator  reads, edits mappings, stops and resumes; sees no keys of rows
--   tenant_migration_reader    reads plans, states, verdicts, mappings and the audit log

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY '{tenant_migration_owner,tenant_migration_operator,tenant_migration_reader}'::text[] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = role_name);
        IF NOT (SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user) THEN
            RAISE INFO 'role % was not created: % has no CREATEROLE. Not needed to migrate; to have it, let an '
                       'administrator run sql/administrator.sql, then install again.', role_name, current_user;
            CONTINUE;
        END IF;
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        EXCEPTION WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN
            RAISE INFO 'role % was not created: %', role_name, SQLERRM;
        END;
    END LOOP;
END $$;
