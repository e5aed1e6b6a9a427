-- validate_migration_readiness(): may the migration start? PASS, WARN, FAIL for each question.

-- How many organizations are part of a circle of parents.
-- In a graph where each node has at most one parent, the nodes that can still be reached after m steps up from
-- anywhere shrink with m until only the circles are left. m is doubled each time (the parent of a parent, of
-- that, ...), so a chain of 10,000 takes 14 rounds, and no recursion ends never.
CREATE OR REPLACE FUNCTION tenant_migration.count_circular_organizations() RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
DECLARE
    place     record;
    above     integer[];    -- above[i]: the number of the node m steps above node i; 0: none
    reachable bigint;
    before    bigint;
BEGIN
    SELECT * INTO place FROM tenant_migration.organizations_place();
    IF place.parent_column IS NULL THEN
        RETURN 0;
    END IF;
    -- As text: a parent column of another type than uuid is no reason to fail here.
    EXECUTE format(
        $query$
        WITH numbered AS (
            SELECT o.%1$I::text AS id, o.%2$I::text AS parent, row_number() OVER ()::integer AS number FROM %3$I.%4$I o
        )
        SELECT array_agg(coalesce(p.number, 0) ORDER BY o.number)
        FROM numbered o LEFT JOIN numbered p ON p.id = o.parent
        $query$, place.id_column, place.parent_column, place.table_schema, place.table_name) INTO above;
    SELECT count(DISTINCT n) INTO reachable FROM unnest(above) AS n WHERE n <> 0;
    LOOP
        EXIT WHEN reachable = 0 OR reachable = before;
        before := reachable;
        SELECT array_agg(CASE WHEN above[i] = 0 THEN 0 ELSE above[above[i]] END ORDER BY i) INTO above
        FROM generate_subscripts(above, 1) AS i;
        SELECT count(DISTINCT n) INTO reachable FROM unnest(above) AS n WHERE n <> 0;
    END LOOP;
    RETURN reachable;
END $$;

-- How many different tenants own rows in the managed tables and are neither mapped nor allowed to be unmapped.
CREATE OR REPLACE FUNCTION tenant_migration.count_unmapped_tenants() RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
DECLARE
    keys_by_type jsonb;
    managed      record;
    in_table     text[];
    unmapped     text[] := '{}';
BEGIN
    SELECT jsonb_object_agg(types.key_type, to_jsonb(tenant_migration.mapped_keys(types.key_type, true)))
    INTO keys_by_type FROM (SELECT DISTINCT key_type FROM tenant_migration.tables_in_scope()) AS types;

    FOR managed IN SELECT * FROM tenant_migration.tables_in_scope() ORDER BY place LOOP
        EXECUTE format(
            $query$
            WITH keys AS MATERIALIZED (SELECT key::%1$s AS key FROM jsonb_array_elements_text($1) AS k (key))
            SELECT array_agg(DISTINCT t.%2$I::text) FROM %3$I.%4$I t
            WHERE t.%2$I IS NOT NULL AND NOT EXISTS (SELECT FROM keys k WHERE k.key %5$s t.%2$I)
            $query$,
            managed.key_type, managed.tenant_column, managed.table_schema, managed.table_name,
            tenant_migration.equality_of(to_regtype(managed.key_type)))
        INTO in_table USING keys_by_type -> managed.key_type;
        unmapped := unmapped || coalesce(in_table, '{}');
    END LOOP;
    RETURN (SELECT count(DISTINCT tenant) FROM unnest(unmapped) AS tenant);
END $$;

-- How two columns of a reference are compared. Declared keys have an operator; configured ones may join text to
-- uuid, which has none: then as text, which cannot fail in the middle of a scan.
CREATE OR REPLACE FUNCTION tenant_migration.join_condition(
    child oid, child_columns name[], parent oid, parent_columns name[]
) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    pair       record;
    conditions text[] := '{}';
BEGIN
    FOR pair IN
        SELECT c.attname AS child_column, c.atttypid AS child_type, p.attname AS parent_column, p.atttypid AS parent_type
        FROM unnest(child_columns, parent_columns) WITH ORDINALITY AS both_sides (child_column, parent_column, n)
        JOIN pg_attribute c ON c.attrelid = child AND c.attname = both_sides.child_column AND NOT c.attisdropped
        JOIN pg_attribute p ON p.attrelid = parent AND p.attname = both_sides.parent_column AND NOT p.attisdropped
        ORDER BY n
    LOOP
        IF tenant_migration.base_type(pair.child_type) = tenant_migration.base_type(pair.parent_type) THEN
            conditions := conditions || format('p.%I %s c.%I', pair.parent_column,
                                               tenant_migration.equality_of(pair.child_type), pair.child_column);
        ELSE
            BEGIN
                EXECUTE format('SELECT NULL::%s = NULL::%s', tenant_migration.quoted_type_name(pair.parent_type),
                               tenant_migration.quoted_type_name(pair.child_type));
                conditions := conditions || format('p.%I = c.%I', pair.parent_column, pair.child_column);
            EXCEPTION WHEN undefined_function THEN
                conditions := conditions || format('p.%I::text = lower(c.%I::text)', pair.parent_column, pair.child_column);
            END;
        END IF;
    END LOOP;
    IF cardinality(conditions) <> cardinality(child_columns) THEN
        RAISE EXCEPTION 'a column of the reference from % (%) to % (%) does not exist any more', child::regclass,
            array_to_string(child_columns, ', '), parent::regclass, array_to_string(parent_columns, ', ')
            USING ERRCODE = 'undefined_column', HINT = 'Store a new plan: tenant-migration plan --write';
    END IF;
    RETURN array_to_string(conditions, ' AND ');
END $$;

-- clause_library -> Clause Library
CREATE OR REPLACE FUNCTION tenant_migration.table_title(table_name name) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT string_agg(upper(left(word, 1)) || substr(word, 2), ' ' ORDER BY n)
    FROM string_to_table(table_title.table_name::text, '_') WITH ORDINALITY AS words (word, n);
$$;

CREATE OR REPLACE FUNCTION :"interface_schema".validate_migration_readiness()
RETURNS TABLE (check_name text, status text, details text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
#variable_conflict use_column
DECLARE
    has_tables boolean := EXISTS (SELECT FROM tenant_migration.tables_in_scope());
    found      bigint;
    relation   record;
    title      text;
BEGIN
    -- 1. Every tenant that owns rows has an organization.
    found := tenant_migration.count_unmapped_tenants();
    RETURN QUERY SELECT 'Tenant Mappings',
        CASE WHEN found > 0 THEN 'FAIL' WHEN has_tables THEN 'PASS' ELSE 'WARN' END,
        format('Tenants without organization mapping: %s%s', found,
               CASE WHEN has_tables THEN '' ELSE ' (no table with a tenant key was found)' END);

    -- 2. Every reference between managed tables, declared, NOT VALID or configured, leads somewhere.
    FOR relation IN
        SELECT r.*, c.table_schema, c.table_name, p.table_schema AS parent_schema, p.table_name AS parent_name
        FROM tenant_migration.relations_in_scope() r
        JOIN tenant_migration.tables_in_scope() c ON c.relation = r.child
        JOIN tenant_migration.tables_in_scope() p ON p.relation = r.parent
        ORDER BY r.place
    LOOP
        EXECUTE format(
            'SELECT count(*) FROM %I.%I c WHERE %s AND NOT EXISTS (SELECT FROM %I.%I p WHERE %s)',
            relation.table_schema, relation.table_name,
            (SELECT string_agg(format('c.%I IS NOT NULL', column_name), ' AND ')
             FROM unnest(relation.child_columns) AS column_name),
            relation.parent_schema, relation.parent_name,
            tenant_migration.join_condition(relation.child, relation.child_columns,
                                            relation.parent, relation.parent_columns)) INTO found;
        title := tenant_migration.table_title(relation.table_name);
        IF tenant_migration.table_label(relation.table_schema, relation.table_name) <> relation.table_name THEN
            title := relation.table_schema || '.' || title;
        END IF;
        RETURN QUERY SELECT 'Orphaned ' || title, CASE WHEN found > 0 THEN 'WARN' ELSE 'PASS' END,
            format('%s with invalid %s: %s', title, array_to_string(relation.child_columns, ', '), found);
    END LOOP;

    -- 3. The organizations form a forest.
    found := tenant_migration.count_circular_organizations();
    RETURN QUERY SELECT 'Circular References', CASE WHEN found > 0 THEN 'FAIL' ELSE 'PASS' END,
        format('Organizations with circular references: %s', found);
END $$;
