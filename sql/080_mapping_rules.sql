-- What holds for every change of a mapping, whoever makes it.
-- SQLSTATE TM002: the mapping cannot change while rows carry what it said.
-- The functions are SECURITY DEFINER: a role that may edit mappings needs no rights on our own tables.

-- Refuses to change or delete the mapping of tenants that have rows written by us, or that are being written.
CREATE OR REPLACE FUNCTION tenant_migration.refuse_mapping_change(tenant_ids text[]) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    live record;
BEGIN
    SELECT n.tenant_id, sum(s.rows_migrated) AS row_count,
           string_agg(t.table_schema || '.' || t.table_name, ', ' ORDER BY t.position) AS tables INTO live
    FROM tenant_migration.tenants n
    JOIN tenant_migration.table_states s USING (tenant_number)
    JOIN tenant_migration.managed_tables t USING (table_id)
    WHERE n.tenant_id = ANY (tenant_ids) AND s.rows_migrated > 0
    GROUP BY n.tenant_id ORDER BY n.tenant_id LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the mapping of tenant % cannot change: % rows in % carry the organization it names',
            quote_literal(live.tenant_id), live.row_count, live.tables
            USING ERRCODE = 'TM002',
                  HINT = format('Roll it back first: tenant-migration rollback --tenant %L', live.tenant_id);
    END IF;
    SELECT n.tenant_id, l.holder INTO live
    FROM tenant_migration.tenants n
    JOIN tenant_migration.leases l ON l.tenant_scope @> n.tenant_number AND l.expires_at > clock_timestamp()
    JOIN tenant_migration.run_tenants r ON r.run_id = l.run_id AND r.tenant_number = n.tenant_number
    WHERE n.tenant_id = ANY (tenant_ids)
    ORDER BY n.tenant_id LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the mapping of tenant % cannot change: % is working on it', quote_literal(live.tenant_id), live.holder
            USING ERRCODE = 'TM002', HINT = 'Wait for it, or stop it with `tenant-migration cancel`.';
    END IF;
END $$;

CREATE OR REPLACE FUNCTION tenant_migration.mappings_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changed text[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        changed := ARRAY(SELECT tenant_id FROM new_rows);
    ELSIF TG_OP = 'UPDATE' THEN
        changed := ARRAY(SELECT o.tenant_id FROM old_rows o LEFT JOIN new_rows n USING (tenant_id)
                         WHERE n.organization_id IS DISTINCT FROM o.organization_id);
        PERFORM tenant_migration.refuse_mapping_change(changed);
    ELSIF TG_OP = 'DELETE' THEN
        changed := ARRAY(SELECT tenant_id FROM old_rows);
        PERFORM tenant_migration.refuse_mapping_change(changed);
    ELSE
        changed := ARRAY(SELECT tenant_id FROM tenant_migration.tenants);
        PERFORM tenant_migration.refuse_mapping_change(changed);
    END IF;
    IF cardinality(changed) = 0 THEN
        RETURN NULL;
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') THEN    -- after an UPDATE: a renamed tenant is a new one
        INSERT INTO tenant_migration.tenants (tenant_id)
        SELECT n.tenant_id FROM new_rows n
        WHERE NOT EXISTS (SELECT FROM tenant_migration.tenants t WHERE t.tenant_id = n.tenant_id)
        ORDER BY n.tenant_id ON CONFLICT DO NOTHING;
    END IF;
    UPDATE tenant_migration.settings SET mapping_generation = mapping_generation + 1;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER mappings_inserted AFTER INSERT ON :"interface_schema".tenant_org_mappings
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_migration.mappings_changed();
CREATE OR REPLACE TRIGGER mappings_updated AFTER UPDATE ON :"interface_schema".tenant_org_mappings
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_migration.mappings_changed();
CREATE OR REPLACE TRIGGER mappings_deleted AFTER DELETE ON :"interface_schema".tenant_org_mappings
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_migration.mappings_changed();
CREATE OR REPLACE TRIGGER mappings_truncated BEFORE TRUNCATE ON :"interface_schema".tenant_org_mappings
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_migration.mappings_changed();

CREATE OR REPLACE FUNCTION tenant_migration.touch_mapping() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER touched BEFORE UPDATE ON :"interface_schema".tenant_org_mappings
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION tenant_migration.touch_mapping();
