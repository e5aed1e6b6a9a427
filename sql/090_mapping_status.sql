-- The mapping's status, count and error follow from the states of the tenant's tables: never set by hand.

-- Called in the transaction that changed table_states or quarantine, with the tenants concerned.
--   any pair failed, or a row in quarantine       -> failed
--   every managed table completed                 -> completed
--   all that was ever started is restored         -> rolled_back
--   something done, running, or written           -> in_progress
--   else                                          -> pending
CREATE OR REPLACE FUNCTION tenant_migration.refresh_mapping_status(tenant_numbers integer[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Two tables of one tenant may end at the same moment: whoever comes second waits here, and the statement
    -- below, with its own snapshot, sees what the first one did. In one order, so that they cannot deadlock.
    PERFORM FROM tenant_migration.tenant_org_mappings m
    JOIN tenant_migration.tenants n USING (tenant_id)
    WHERE n.tenant_number = ANY (tenant_numbers)
    ORDER BY m.tenant_id FOR NO KEY UPDATE OF m;

    WITH managed AS (
        SELECT count(*) AS tables FROM tenant_migration.managed_tables WHERE retired_at IS NULL
    ), pairs AS (
        SELECT s.tenant_number,
               count(*) FILTER (WHERE s.state = 'completed' AND t.retired_at IS NULL) AS completed,
               bool_or(s.state = 'failed' AND t.retired_at IS NULL) AS any_failed,
               bool_or(s.state = 'rolled_back') AS any_restored,
               bool_or(s.rows_migrated > 0 OR s.state NOT IN ('pending', 'blocked', 'cancelled', 'rolled_back', 'failed'))
                   AS any_at_work,
               sum(s.rows_migrated) AS rows_migrated,
               max(s.updated_at) FILTER (WHERE s.state = 'completed') AS completed_at,
               (array_agg(s.actor ORDER BY s.updated_at DESC) FILTER (WHERE s.state = 'completed'))[1] AS completed_by,
               (array_agg(s.reason ORDER BY s.state <> 'failed', s.updated_at DESC)
                   FILTER (WHERE s.state IN ('failed', 'blocked') AND s.reason IS NOT NULL))[1] AS reason
        FROM tenant_migration.table_states s JOIN tenant_migration.managed_tables t USING (table_id)
        WHERE s.tenant_number = ANY (tenant_numbers)
        GROUP BY s.tenant_number
    ), quarantined AS (
        SELECT q.tenant_number, (array_agg(q.message ORDER BY q.quarantine_id DESC))[1] AS message
        FROM tenant_migration.quarantine q
        WHERE q.tenant_number = ANY (tenant_numbers) AND q.resolved_at IS NULL
        GROUP BY q.tenant_number
    ), derived AS (
        SELECT n.tenant_id, p.completed_at, p.completed_by,
               coalesce(p.rows_migrated, 0) AS rows_migrated,
               coalesce(p.reason, q.message) AS reason,
               CASE
                   WHEN p.any_failed OR q.tenant_number IS NOT NULL THEN 'failed'
                   WHEN p.completed = managed.tables AND managed.tables > 0 THEN 'completed'
                   WHEN p.any_restored AND NOT p.any_at_work THEN 'rolled_back'
                   WHEN p.any_at_work THEN 'in_progress'
                   ELSE 'pending'
               END AS status
        FROM tenant_migration.tenants n
        CROSS JOIN managed
        LEFT JOIN pairs p USING (tenant_number)
        LEFT JOIN quarantined q USING (tenant_number)
        WHERE n.tenant_number = ANY (tenant_numbers)
    ), wanted AS (
        SELECT tenant_id, status, rows_migrated,
               CASE WHEN status = 'completed' THEN completed_at END AS migrated_at,
               CASE WHEN status = 'completed' THEN completed_by END AS migrated_by,
               CASE WHEN status NOT IN ('completed', 'rolled_back') THEN reason END AS error_log
        FROM derived
    )
    UPDATE tenant_migration.tenant_org_mappings m
    SET migration_status = w.status, record_count = w.rows_migrated, migrated_at = w.migrated_at,
        migrated_by = w.migrated_by, error_log = w.error_log
    FROM wanted w
    WHERE m.tenant_id = w.tenant_id
      AND (m.migration_status, m.record_count, m.migrated_at, m.migrated_by, m.error_log)
          IS DISTINCT FROM (w.status, w.rows_migrated, w.migrated_at, w.migrated_by, w.error_log);
END $$;
