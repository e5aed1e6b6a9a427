-- The right to write to (table, tenant): who gets it when two ask.

-- Takes a lease, or says who has it. tenant_number NULL asks for all tenants of the table and conflicts with
-- everybody's. The same token asking again for what it has is renewed. The server process that asks is noted as the
-- holder's: what an emergency stop ends when the client no longer answers.
-- 1. Drop the lease that stands in the way if its holder gave no sign of life until it expired. A batch of
--    that holder that is under way has the row locked: we wait for it (lock_timeout) and see it renewed.
-- 2. Insert; the exclusion constraint lets one of two at a time through.
-- 3. From here on the mapping cannot change (080_mapping_rules.sql); what changed between the run's start and now
--    is an error, or its rows would go where the mapping no longer says. SHARE: a change under way is waited for.
--    Not for a run that froze no mapping: a rollback works by the journal, and nobody's open change may delay it.
-- 4. Refused: name the holder; he may be gone by now, then try again.
CREATE OR REPLACE FUNCTION tenant_migration.acquire_lease(
    token uuid, table_id integer, tenant_number integer, run_id bigint, holder text, ttl interval
) RETURNS TABLE (acquired boolean, conflicting_holder text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    wanted constant int4range := CASE WHEN acquire_lease.tenant_number IS NULL THEN int4range(NULL, NULL)
                                      ELSE int4range(acquire_lease.tenant_number, acquire_lease.tenant_number, '[]') END;
    other  text;
BEGIN
    FOR attempt IN 1..10 LOOP
        DELETE FROM tenant_migration.leases l
        WHERE l.table_id = acquire_lease.table_id AND l.tenant_scope && wanted
          AND l.expires_at <= clock_timestamp() AND l.token <> acquire_lease.token;

        UPDATE tenant_migration.leases l
        SET heartbeat_at = clock_timestamp(), expires_at = clock_timestamp() + ttl,
            backend_pid = own.pid, backend_start = own.backend_start
        FROM pg_stat_get_activity(pg_backend_pid()) own
        WHERE l.token = acquire_lease.token AND l.table_id = acquire_lease.table_id AND l.tenant_scope = wanted;
        IF NOT FOUND THEN
            INSERT INTO tenant_migration.leases
                (token, table_id, tenant_scope, run_id, holder, expires_at, backend_pid, backend_start)
            SELECT acquire_lease.token, acquire_lease.table_id, wanted, acquire_lease.run_id, acquire_lease.holder,
                   clock_timestamp() + ttl, own.pid, own.backend_start
            FROM pg_stat_get_activity(pg_backend_pid()) own
            ON CONFLICT DO NOTHING;
        END IF;
        IF FOUND THEN
            IF NOT EXISTS (SELECT FROM tenant_migration.run_tenants r WHERE r.run_id = acquire_lease.run_id) THEN
                RETURN QUERY SELECT true, NULL::text;
                RETURN;
            END IF;
            LOCK TABLE tenant_migration.tenant_org_mappings IN SHARE MODE;
            SELECT n.tenant_id INTO other
            FROM tenant_migration.run_tenants r
            JOIN tenant_migration.tenants n USING (tenant_number)
            LEFT JOIN tenant_migration.tenant_org_mappings m USING (tenant_id)
            WHERE r.run_id = acquire_lease.run_id AND wanted @> r.tenant_number
              AND m.organization_id IS DISTINCT FROM r.organization_id
            LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'run %: the mapping of tenant % changed since it started', acquire_lease.run_id,
                    quote_literal(other) USING ERRCODE = 'TM002', HINT = 'Run again: a new run takes the mapping as it is now.';
            END IF;
            RETURN QUERY SELECT true, NULL::text;
            RETURN;
        END IF;

        SELECT l.holder INTO other FROM tenant_migration.leases l
        WHERE l.token = acquire_lease.token
           OR (l.table_id = acquire_lease.table_id AND l.tenant_scope && wanted AND l.expires_at > clock_timestamp())
        ORDER BY l.expires_at DESC LIMIT 1;
        IF FOUND THEN
            RETURN QUERY SELECT false, other;
            RETURN;
        END IF;
    END LOOP;
    RETURN QUERY SELECT false, 'leases that come and go; try again'::text;
END $$;
