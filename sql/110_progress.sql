-- get_migration_progress(): how far each table is, exactly. One scan of each table.

-- total_rows are the rows whose tenant has a mapping, migrated_rows those of them with an organization. Rows of
-- NULL, allowed or unmapped tenants are in neither. 100.00 means that nothing is left, so 99.996 is shown as 99.99.
CREATE OR REPLACE FUNCTION :"interface_schema".get_migration_progress()
RETURNS TABLE (table_name text, total_rows bigint, migrated_rows bigint, percentage numeric)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
#variable_conflict use_column
DECLARE
    keys_by_type jsonb;    -- canonical keys of all mappings, once for each type of key in the database
    managed      record;
BEGIN
    SELECT jsonb_object_agg(types.key_type, to_jsonb(tenant_migration.mapped_keys(types.key_type))) INTO keys_by_type
    FROM (SELECT DISTINCT key_type FROM tenant_migration.tables_in_scope()) AS types;

    FOR managed IN SELECT * FROM tenant_migration.tables_in_scope() ORDER BY place LOOP
        RETURN QUERY EXECUTE format(
            $query$
            WITH keys AS MATERIALIZED (SELECT key::%1$s AS key FROM jsonb_array_elements_text($1) AS k (key)),
            counted AS (
                SELECT count(*) AS total, %2$s AS migrated FROM %3$I.%4$I t
                WHERE EXISTS (SELECT FROM keys k WHERE k.key %5$s t.%6$I)
            )
            SELECT $2, total, migrated,
                   CASE WHEN migrated = total THEN 100.00
                        ELSE least(round(100.0 * migrated / total, 2), 99.99) END
            FROM counted
            $query$,
            managed.key_type,
            CASE WHEN managed.organization_column IS NULL THEN '0::bigint'
                 ELSE format('count(t.%I)', managed.organization_column) END,
            managed.table_schema, managed.table_name,
            tenant_migration.equality_of(to_regtype(managed.key_type)), managed.tenant_column)
        USING keys_by_type -> managed.key_type,
              tenant_migration.table_label(managed.table_schema, managed.table_name);
    END LOOP;
END $$;
