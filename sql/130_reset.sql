-- reset_migration(): for development only. Clears the organization of every managed row, whoever wrote it.
-- Granted to nobody: only the owner may, and only after saying so in the session.
-- SQLSTATE TM004: not allowed, or not now.

CREATE OR REPLACE FUNCTION :"interface_schema".reset_migration() RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET row_security = off SET lock_timeout = '5s' AS $$
DECLARE
    managed  record;
    active   record;
    cleared  bigint;
    rows_all bigint := 0;
    mappings bigint;
    by_table jsonb := '{}';
    started  constant timestamptz := clock_timestamp();
    summary  text;
BEGIN
    IF coalesce(current_setting('tenant_migration.allow_reset', true), '') <> 'on' THEN
        RAISE EXCEPTION 'reset_migration() clears the organization of every row in every managed table, also what '
                        'this tool did not write'
            USING ERRCODE = 'TM004',
                  HINT = 'To do it all the same, in this session: SET tenant_migration.allow_reset = ''on''';
    END IF;

    -- 1. Nobody else works, and nobody starts until we are done: no lease is left, none can be taken.
    LOCK TABLE tenant_migration.leases IN SHARE ROW EXCLUSIVE MODE;
    SELECT l.holder INTO active FROM tenant_migration.leases l WHERE l.expires_at > clock_timestamp() LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'reset_migration() refused: % is working', active.holder
            USING ERRCODE = 'TM004', HINT = 'Stop it first: tenant-migration cancel';
    END IF;
    DELETE FROM tenant_migration.leases;
    PERFORM set_config('tenant_migration.backfill', 'on', true),    -- our own triggers let these writes pass
            set_config('tenant_migration.resetting', 'on', true);

    -- 2. The organization columns.
    FOR managed IN SELECT * FROM tenant_migration.tables_in_scope() ORDER BY place DESC LOOP
        CONTINUE WHEN managed.organization_column IS NULL;
        EXECUTE format('UPDATE %I.%I SET %I = NULL WHERE %3$I IS NOT NULL',
                       managed.table_schema, managed.table_name, managed.organization_column);
        GET DIAGNOSTICS cleared = ROW_COUNT;
        rows_all := rows_all + cleared;
        by_table := by_table || jsonb_build_object(managed.table_schema || '.' || managed.table_name, cleared);
    END LOOP;

    -- 3. Journals closed, states and cursors forgotten, what was under way is cancelled.
    FOR managed IN
        SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'tenant_migration' AND c.relkind = 'r' AND c.relname ~ '^journal_[0-9]+$'
    LOOP
        EXECUTE format('UPDATE tenant_migration.%I SET closed_at = clock_timestamp() WHERE closed_at IS NULL', managed.relname);
    END LOOP;
    UPDATE tenant_migration.quarantine SET resolved_at = clock_timestamp() WHERE resolved_at IS NULL;
    DELETE FROM tenant_migration.cursors;
    DELETE FROM tenant_migration.table_states;
    UPDATE tenant_migration.table_runs SET state = 'cancelled', reason = 'reset_migration()', finished_at = clock_timestamp()
    WHERE state NOT IN ('completed', 'failed', 'blocked', 'cancelled', 'rolled_back');
    UPDATE tenant_migration.runs SET state = 'cancelled', reason = 'reset_migration()', finished_at = clock_timestamp()
    WHERE state NOT IN ('completed', 'failed', 'blocked', 'cancelled', 'rolled_back');

    -- 4. The mappings.
    UPDATE tenant_migration.tenant_org_mappings
    SET migration_status = 'pending', migrated_at = NULL, migrated_by = NULL, record_count = 0, error_log = NULL
    WHERE (migration_status, record_count) <> ('pending', 0) OR num_nonnulls(migrated_at, migrated_by, error_log) > 0;
    GET DIAGNOSTICS mappings = ROW_COUNT;

    summary := format('%s rows in %s tables cleared, %s mappings pending again', rows_all,
                      (SELECT count(*) FROM jsonb_object_keys(by_table)), mappings);
    PERFORM set_config('tenant_migration.backfill', '', true), set_config('tenant_migration.resetting', '', true);

    -- 5. One more row in the audit log, which is otherwise untouched.
    PERFORM tenant_migration.append_audit(
        'reset_migration', session_user::text, 'succeeded',
        counts => jsonb_build_object('rows', rows_all, 'mappings', mappings),
        duration_ms => (extract(epoch FROM clock_timestamp() - started) * 1000)::bigint,
        detail => jsonb_build_object('tables', by_table));
    RETURN summary;
END $$;
