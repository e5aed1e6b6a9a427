-- Who may do what with our own objects: nobody, but the owner and the three group roles that exist.
-- Row security is enabled, not forced: forced, the engine's own statements would fail under row_security = off.

-- Enables row security and takes back every grant but the owner's own, on its sequences too: databases with
-- default privileges hand new tables to application roles. Also called for each journal and backup when it is made.
CREATE OR REPLACE FUNCTION tenant_migration.make_private(relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT DISTINCT a.grantee, c.relkind, c.oid::regclass AS name
        FROM pg_class c CROSS JOIN LATERAL (
            SELECT x.grantee FROM aclexplode(c.relacl) x
            UNION SELECT x.grantee FROM pg_attribute t, aclexplode(t.attacl) x WHERE t.attrelid = c.oid   -- of columns
        ) a
        WHERE (c.oid = relation
               OR c.relkind = 'S' AND c.oid IN (SELECT d.objid FROM pg_depend d    -- of its identity columns
                                                WHERE d.classid = 'pg_class'::regclass
                                                  AND d.refclassid = 'pg_class'::regclass
                                                  AND d.refobjid = relation AND d.deptype IN ('i', 'a')))
          AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM %s CASCADE', CASE granted.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
                       granted.name, CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE granted.grantee::regrole::text END);
    END LOOP;
    IF EXISTS (SELECT FROM pg_class WHERE oid = relation AND relkind IN ('r', 'p') AND NOT relrowsecurity) THEN
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', relation);
    END IF;
END $$;

-- The same for a function. Also called for each claim function when it is made: whoever may execute one could attach
-- it to a table of his own and claim rows that nobody wrote.
CREATE OR REPLACE FUNCTION tenant_migration.make_function_private(function regprocedure) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    grantee oid;
BEGIN
    FOR grantee IN
        SELECT DISTINCT a.grantee FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        WHERE p.oid = function AND a.grantee <> p.proowner
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s CASCADE', function,
                       CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END);
    END LOOP;
END $$;

-- In our own schema the grants are ours alone, each time. In the application's schema what an administrator
-- granted since the first installation stays (a policy on JWT claims, say); only reset_migration() is nobody's.
DO $$
DECLARE
    fresh constant boolean := (SELECT installed_at = now() FROM tenant_migration.settings);
    interface_schema constant name := (SELECT s.interface_schema FROM tenant_migration.settings s);
    relation record;
    function record;
    grantee  oid;
BEGIN
    FOR relation IN
        SELECT c.oid, n.nspname, c.relrowsecurity
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'S')
          AND (n.nspname = 'tenant_migration'
               OR n.nspname = interface_schema AND c.relname IN ('tenant_org_mappings', 'migration_audit_log'))
    LOOP
        IF relation.nspname = 'tenant_migration' OR fresh THEN
            PERFORM tenant_migration.make_private(relation.oid);
        END IF;
    END LOOP;

    FOR grantee IN
        SELECT DISTINCT a.grantee FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) a
        WHERE n.nspname = 'tenant_migration' AND a.grantee NOT IN (0, n.nspowner)
    LOOP
        EXECUTE format('REVOKE ALL ON SCHEMA tenant_migration FROM %s CASCADE', grantee::regrole);
    END LOOP;

    FOR function IN
        SELECT p.oid, p.proname, n.nspname, p.oid::regprocedure AS signature
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'tenant_migration'
           OR n.nspname = interface_schema
              AND p.proname IN ('get_migration_progress', 'validate_migration_readiness', 'reset_migration')
              AND p.pronargs = 0
    LOOP
        IF function.nspname = 'tenant_migration' OR fresh OR function.proname = 'reset_migration' THEN
            PERFORM tenant_migration.make_function_private(function.oid);
        ELSE
            EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', function.signature);
        END IF;
    END LOOP;
END $$;

-- What each group role may do. Journals, claims and backups hold keys and contents of the application's rows,
-- quarantine, left_alone and reports (examples) their keys: the owner's alone, so that nobody reads there what he could not read in the tables.
DO $$
DECLARE
    interface constant name := (SELECT s.interface_schema FROM tenant_migration.settings s);
    allowed   record;
BEGIN
    FOR allowed IN
        WITH ours AS (
            SELECT n.nspname AS table_schema, c.relname AS table_name, c.relkind
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p', 'v')
              AND (n.nspname = 'tenant_migration' AND c.relname !~ '^(journal|backup|claims)_'
                   OR n.nspname = interface AND c.relname IN ('tenant_org_mappings', 'migration_audit_log'))
        ), matrix (role_name, privileges, only_tables, but_tables) AS (VALUES
            ('tenant_migration_owner', 'SELECT', NULL::text[], '{}'::text[]),
            ('tenant_migration_owner', 'INSERT, UPDATE, DELETE', NULL, '{migration_audit_log,state_log}'),
            ('tenant_migration_operator', 'SELECT', NULL, '{quarantine,left_alone,reports}'),
            ('tenant_migration_operator', 'INSERT, UPDATE, DELETE', '{tenant_org_mappings}', '{}'),
            ('tenant_migration_operator', 'UPDATE (emergency_stop, emergency_stopped_at, emergency_stopped_by, '
                                          'emergency_reason, emergency_unstopped, mapping_generation)', '{settings}', '{}'),
            ('tenant_migration_operator', 'UPDATE (state, reason, actor, finished_at)', '{runs,table_runs}', '{}'),
            ('tenant_migration_operator', 'INSERT (run_id, table_id, state, reason, actor)', '{table_runs}', '{}'),
            ('tenant_migration_reader', 'SELECT', NULL, '{quarantine,left_alone,reports}')
        )
        SELECT m.role_name, m.privileges, ours.table_schema, ours.table_name, ours.relkind
        FROM matrix m
        JOIN pg_roles r ON r.rolname = m.role_name
        JOIN ours ON (m.only_tables IS NULL OR ours.table_name = ANY (m.only_tables))
                 AND ours.table_name <> ALL (m.but_tables)
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA tenant_migration, %I TO %I', interface, allowed.role_name);
        EXECUTE format('GRANT %s ON %I.%I TO %I', allowed.privileges, allowed.table_schema, allowed.table_name,
                       allowed.role_name);
        IF allowed.relkind <> 'v' THEN    -- the privileges say what, the policy that it is every row
            EXECUTE format('DROP POLICY IF EXISTS %I ON %I.%I', allowed.role_name, allowed.table_schema, allowed.table_name);
            EXECUTE format('CREATE POLICY %I ON %I.%I TO %1$I USING (true) WITH CHECK (true)', allowed.role_name,
                           allowed.table_schema, allowed.table_name);
        END IF;
    END LOOP;

    FOR allowed IN
        WITH matrix (role_name, but_functions) AS (VALUES
            ('tenant_migration_owner', '{reset_migration}'::text[]),
            ('tenant_migration_operator', '{reset_migration,acquire_lease,refresh_mapping_status,make_private}'),
            ('tenant_migration_reader',
             '{reset_migration,acquire_lease,refresh_mapping_status,make_private,append_audit}')
        )
        SELECT m.role_name, p.oid::regprocedure AS signature
        FROM matrix m
        JOIN pg_roles r ON r.rolname = m.role_name
        JOIN pg_proc p ON p.proname <> ALL (m.but_functions) AND p.prorettype <> 'trigger'::regtype
        JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'tenant_migration'
           OR n.nspname = interface AND p.pronargs = 0
              AND p.proname IN ('get_migration_progress', 'validate_migration_readiness')
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', allowed.signature, allowed.role_name);
    END LOOP;
END $$;
