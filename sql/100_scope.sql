-- What the users' functions look at: the tables of the stored plan or, when there is none yet, the tables of this
-- database that have a key column. SECURITY DEFINER where our own tables are read: the callers run with
-- row_security off, so that a policy of the application is an error and not a silent zero, and under that setting
-- only the owner can read tables with row security.

-- The type's own equality, with its schema. Under our search path a bare = between two values of an extension's
-- type (citext) would be that of text.
CREATE OR REPLACE FUNCTION tenant_migration.equality_of(type_oid oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('OPERATOR(%I.=)', coalesce((
        SELECT n.nspname
        FROM pg_opclass c
        JOIN pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'
        JOIN pg_amop a ON a.amopfamily = c.opcfamily AND a.amopstrategy = 3
                      AND a.amoplefttype = c.opcintype AND a.amoprighttype = c.opcintype
        JOIN pg_operator o ON o.oid = a.amopopr AND o.oprname = '='
        JOIN pg_namespace n ON n.oid = o.oprnamespace
        WHERE c.opcdefault AND c.opcintype = tenant_migration.base_type(type_oid)), 'pg_catalog'));
$$;

-- A table as people read it: bare in the interface schema, else schema.table.
CREATE OR REPLACE FUNCTION tenant_migration.table_label(table_schema name, table_name name) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN table_label.table_schema = s.interface_schema THEN table_label.table_name::text
                ELSE table_label.table_schema || '.' || table_label.table_name END
    FROM tenant_migration.settings s;
$$;

-- One row a table, parents first. organization_column is NULL where there is none of type uuid yet.
CREATE OR REPLACE FUNCTION tenant_migration.tables_in_scope() RETURNS TABLE (
    relation oid, table_id integer, table_schema name, table_name name, tenant_column name, key_type text,
    organization_column name, place bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    has_plan constant boolean := EXISTS (SELECT FROM tenant_migration.plans);
    gone     record;
BEGIN
    SELECT m.table_schema, m.table_name, m.tenant_column INTO gone
    FROM tenant_migration.managed_tables m
    WHERE has_plan AND m.retired_at IS NULL AND NOT EXISTS (
        SELECT FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE n.nspname = m.table_schema AND c.relname = m.table_name AND a.attname = m.tenant_column)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'managed table %.% with column % does not exist any more', gone.table_schema, gone.table_name,
            gone.tenant_column USING ERRCODE = 'undefined_table', HINT = 'Store a new plan: tenant-migration plan --write';
    END IF;

    RETURN QUERY
    WITH planned AS (
        SELECT c.oid AS relation, m.table_id, m.table_schema, m.table_name, m.tenant_column, m.organization_column,
               m."position" AS place
        FROM tenant_migration.managed_tables m
        JOIN pg_namespace n ON n.nspname = m.table_schema
        JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = m.table_name
        WHERE has_plan AND m.retired_at IS NULL
    ), found AS (
        SELECT c.oid AS relation, NULL::integer AS table_id, n.nspname AS table_schema, c.relname AS table_name,
               (SELECT a.attname
                FROM unnest(s.tenant_key_columns) WITH ORDINALITY AS wanted (key_name, preference)
                JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = wanted.key_name
                                   AND a.attnum > 0 AND NOT a.attisdropped
                ORDER BY preference LIMIT 1) AS tenant_column,
               s.organization_column, NULL::integer AS place
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        CROSS JOIN tenant_migration.settings s
        WHERE NOT has_plan
          AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
          AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)    -- read through its parent
          AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'tenant_migration')
          AND (n.nspname, c.relname) NOT IN (
              (s.interface_schema, 'tenant_org_mappings'), (s.interface_schema, 'migration_audit_log'),
              (s.organizations_schema, s.organizations_table))
    ), scope AS (
        SELECT * FROM planned UNION ALL SELECT * FROM found WHERE tenant_column IS NOT NULL
    )
    SELECT scope.relation, scope.table_id, scope.table_schema, scope.table_name, scope.tenant_column,
           tenant_migration.quoted_type_name(key.atttypid),
           CASE WHEN organization.atttypid = 'uuid'::regtype THEN organization.attname END,
           row_number() OVER (ORDER BY scope.place, scope.table_schema, scope.table_name)
    FROM scope
    JOIN pg_attribute key ON key.attrelid = scope.relation AND key.attname = scope.tenant_column
                         AND key.attnum > 0 AND NOT key.attisdropped
    LEFT JOIN pg_attribute organization
           ON organization.attrelid = scope.relation AND organization.attname = scope.organization_column
          AND organization.attnum > 0 AND NOT organization.attisdropped
    ORDER BY 8;
END $$;

-- References between these tables: those of the plan (configured ones included), else the declared foreign keys.
CREATE OR REPLACE FUNCTION tenant_migration.relations_in_scope() RETURNS TABLE (
    name text, child oid, child_columns name[], parent oid, parent_columns name[], place bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF EXISTS (SELECT FROM tenant_migration.plans) THEN
        RETURN QUERY
        SELECT r.name, c.relation, r.child_columns, p.relation, r.parent_columns,
               row_number() OVER (ORDER BY c.place, r.name)
        FROM tenant_migration.managed_relations r
        JOIN tenant_migration.tables_in_scope() c ON c.table_id = r.child_table_id
        JOIN tenant_migration.tables_in_scope() p ON p.table_id = r.parent_table_id
        ORDER BY 6;
    ELSE
        RETURN QUERY
        SELECT f.conname::text, c.relation,
               ARRAY(SELECT a.attname FROM unnest(f.conkey) WITH ORDINALITY k (number, n)
                     JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.number ORDER BY k.n),
               p.relation,
               ARRAY(SELECT a.attname FROM unnest(f.confkey) WITH ORDINALITY k (number, n)
                     JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.number ORDER BY k.n),
               row_number() OVER (ORDER BY c.place, f.conname)
        FROM pg_constraint f
        JOIN tenant_migration.tables_in_scope() c ON c.relation = f.conrelid
        JOIN tenant_migration.tables_in_scope() p ON p.relation = f.confrelid
        WHERE f.contype = 'f' AND f.conparentid = 0    -- not the copies on partitions
        ORDER BY 6;
    END IF;
END $$;

-- The keys that the mapping knows, in their form for a type; with_allowed adds the tenants that may stay unmapped.
CREATE OR REPLACE FUNCTION tenant_migration.mapped_keys(key_type text, with_allowed boolean DEFAULT false)
RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH tenants AS (
        SELECT m.tenant_id FROM tenant_migration.tenant_org_mappings m
        UNION
        SELECT unnest(s.allowed_unmapped_tenants) FROM tenant_migration.settings s WHERE with_allowed
    ), keys AS MATERIALIZED (
        SELECT DISTINCT tenant_migration.canonical_key(t.tenant_id, mapped_keys.key_type) AS key FROM tenants t
    )
    SELECT coalesce(array_agg(key), '{}') FROM keys WHERE key IS NOT NULL;
$$;

-- Where the organizations are.
CREATE OR REPLACE FUNCTION tenant_migration.organizations_place(
    OUT table_schema name, OUT table_name name, OUT id_column name, OUT parent_column name
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT organizations_schema, organizations_table, organizations_id, organizations_parent_id
    FROM tenant_migration.settings;
$$;
