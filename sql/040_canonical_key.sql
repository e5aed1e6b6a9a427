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
    IF type_oid IS NULL THEN
        RAISE EXCEPTION 'tenant key type % does not exist in this database', key_type
            USING ERRCODE = 'undefined_object', HINT = 'The table changed: store a new plan with `tenant-migration plan --write`.';
    END IF;
    IF value IS NULL OR type_oid IN ('text'::regtype, 'varchar'::regtype) THEN
        RETURN value;
    END IF;
    IF type_oid = 'uuid'::regtype AND value ~ '^[[:xdigit:]]{8}(-[[:xdigit:]]{4}){3}-[[:xdigit:]]{12}$' THEN
        RETURN lower(value);    -- as nearly all are written: without the sub-transaction below
    END IF;
    SELECT * INTO base FROM pg_type WHERE oid = type_oid;
    WHILE base.typtype = 'd' LOOP
        SELECT * INTO base FROM pg_type WHERE oid = base.typbasetype;
    END LOOP;
    BEGIN
        EXECUTE format('SELECT ($1::%s)::text', tenant_migration.quoted_type_name(type_oid)) INTO canonical USING value;
    EXCEPTION WHEN data_exception OR check_violation OR not_null_violation THEN
        RETURN NULL;
    END;
    IF base.typcategory = 'S' AND rtrim(canonical, ' ') <> rtrim(value, ' ') THEN
        RETURN NULL;    -- a length limit cut it (a domain over varchar(5), name): that is another tenant
    END IF;
    IF base.typname = 'citext' THEN
        RETURN lower(canonical);
    END IF;
    IF base.oid = 'numeric'::regtype THEN
        RETURN trim_scale(canonical::numeric)::text;
    END IF;
    RETURN canonical;
END $$;
