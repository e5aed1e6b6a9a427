-- One text form for each value of a tenant key, whatever the column's type: how tenants of a mapping (text)
-- and keys in tables (uuid, integer, char, enum, domain, ...) meet.

-- The type that a managed_tables.key_type names ('"pg_catalog"."bpchar"'), or an error.
-- Never regtype::text of it: that of bpchar is "character", which as a cast means character(1).
CREATE OR REPLACE FUNCTION tenant_migration.quoted_type_name(type_oid oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN (
    SELECT '"' || replace(n.nspname, '"', '""') || '"."' || replace(t.typname, '"', '""') || '"'
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    WHERE t.oid = type_oid
);

-- The type itself or, of a domain, the type under it.
CREATE OR REPLACE FUNCTION tenant_migration.base_type(type_oid oid) RETURNS oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH RECURSIVE under AS (
        SELECT t.oid, t.typtype, t.typbasetype FROM pg_type t WHERE t.oid = type_oid
        UNION ALL
        SELECT t.oid, t.typtype, t.typbasetype FROM under u JOIN pg_type t ON t.oid = u.typbasetype WHERE u.typtype = 'd'
    )
    SELECT oid FROM under WHERE typtype <> 'd';
$$;

-- The canonical text of a value for a type, or NULL when the type cannot hold it. Casting the result to the
-- type never fails, so that scans may do it; it is computed once for each mapping, never in a scan, since the
-- exception block makes a sub-transaction.
CREATE OR REPLACE FUNCTION tenant_migration.canonical_key(value text, key_type text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    type_oid  oid := to_regtype(key_type);
    base      pg_type;
    canonical text;
BEGIN
    -- The frequent types by expressions that are parsed once; a uuid as nearly all are written even without the
    -- sub-transaction that the exception block is.
    IF value IS NULL OR type_oid = 'text'::regtype OR type_oid = 'varchar'::regtype THEN
        RETURN value;
    ELSIF type_oid = 'bpchar'::regtype THEN
        RETURN value::bpchar::text;
    ELSIF type_oid = 'uuid'::regtype AND value ~ '^[[:xdigit:]]{8}(-[[:xdigit:]]{4}){3}-[[:xdigit:]]{12}$' THEN
        RETURN lower(value);
    ELSIF type_oid IS NULL THEN
        RAISE EXCEPTION 'tenant key type % does not exist in this database', key_type
            USING ERRCODE = 'undefined_object', HINT = 'The table changed: store a new plan with `tenant-migration plan --write`.';
    END IF;
    BEGIN
        IF type_oid = 'uuid'::regtype THEN
            RETURN value::uuid::text;
        ELSIF type_oid = 'int4'::regtype THEN
            RETURN value::int4::text;
        ELSIF type_oid = 'int8'::regtype THEN
            RETURN value::int8::text;
        ELSIF type_oid = 'numeric'::regtype THEN
            RETURN trim_scale(value::numeric)::text;
        END IF;
        EXECUTE format('SELECT ($1::%s)::text', tenant_migration.quoted_type_name(type_oid)) INTO canonical USING value;
    EXCEPTION WHEN data_exception OR check_violation OR not_null_violation THEN
        RETURN NULL;
    END;

    -- Domains, enums and what extensions bring.
    SELECT * INTO base FROM pg_type WHERE oid = tenant_migration.base_type(type_oid);
    IF base.typcategory = 'S' AND rtrim(canonical, ' ') <> rtrim(value, ' ') THEN
        RETURN NULL;    -- a length limit cut it (a domain over varchar(5), name): that is another tenant
    ELSIF base.typname = 'citext' THEN
        RETURN lower(canonical);
    ELSIF base.oid = 'numeric'::regtype THEN
        RETURN trim_scale(canonical::numeric)::text;
    END IF;
    RETURN canonical;
END $$;
