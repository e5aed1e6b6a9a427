-- What has to be there before anything is made: one clear error for each lack, with the next step as its hint.
-- SQLSTATE TM001: a requirement of the installation does not hold.

DO $$
DECLARE
    interface_schema constant text := current_setting('tenant_migration.interface_schema');
    in_schema        constant text := current_setting('tenant_migration.organizations_schema');
    in_table         constant text := current_setting('tenant_migration.organizations_table');
    id_column        constant text := current_setting('tenant_migration.organizations_id');
    organizations    constant text := format('%s.%s', in_schema, in_table);
    name_it          constant text :=
        'Name the right one: `organizations` in migration.yaml, or psql -v organizations_schema=... '
        '-v organizations_table=... -v organizations_id=...';
    relation         record;
    id               record;
    name_in_use      text;
BEGIN
    -- 1. Our own schema: may we, and is this the same installation? (settings refuses to become another one)
    IF EXISTS (SELECT FROM pg_namespace WHERE nspname = 'tenant_migration') THEN
        IF NOT EXISTS (SELECT FROM pg_namespace
                       WHERE nspname = 'tenant_migration' AND pg_has_role(nspowner, 'USAGE')) THEN
            RAISE EXCEPTION 'schema tenant_migration belongs to role %, and role % does not inherit its rights',
                (SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'tenant_migration'), current_user
                USING ERRCODE = 'TM001', HINT = 'Install as that role, or as a member of it.';
        END IF;
        SELECT c.relname INTO name_in_use
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'tenant_migration' AND to_regclass('tenant_migration.settings') IS NULL LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'schema tenant_migration is there already, with %, and was not made by this tool', name_in_use
                USING ERRCODE = 'TM001', HINT = 'Rename it: ALTER SCHEMA tenant_migration RENAME TO ...';
        END IF;
    ELSIF NOT has_database_privilege(current_database(), 'CREATE') THEN
        RAISE EXCEPTION 'role % may not create schemas in database %', current_user, current_database()
            USING ERRCODE = 'TM001',
                  HINT = format('Run as its owner: GRANT CREATE ON DATABASE %I TO %I;', current_database(), current_user);
    END IF;
    IF to_regclass('tenant_migration.settings') IS NOT NULL THEN
        EXECUTE 'UPDATE tenant_migration.settings SET schema_version = $1, interface_schema = $2, '
                'organizations_schema = $3, organizations_table = $4, organizations_id = $5'
        USING current_setting('tenant_migration.schema_version')::integer, interface_schema, in_schema, in_table, id_column;
    END IF;

    -- 2. The application's schema.
    IF interface_schema = 'tenant_migration' OR in_schema = 'tenant_migration' THEN
        RAISE EXCEPTION 'schema tenant_migration is the tool''s own: it cannot hold your tables'
            USING ERRCODE = 'TM001', HINT = 'Choose another interface_schema, for example public.';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = interface_schema) THEN
        RAISE EXCEPTION 'schema % does not exist in database %', interface_schema, current_database()
            USING ERRCODE = 'TM001', HINT = 'Create it, or name another interface_schema.';
    END IF;

    -- 3. The organizations: a table, whose id is a uuid and a key.
    SELECT c.oid, c.relkind INTO relation
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = in_schema AND c.relname = in_table;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'table % does not exist in database %: there is nothing to map tenants to', organizations,
            current_database() USING ERRCODE = 'TM001', HINT = name_it || ', or create it.';
    END IF;
    IF relation.relkind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION '% is not a table, so mappings cannot reference it', organizations
            USING ERRCODE = 'TM001', HINT = name_it || '.';
    END IF;
    SELECT a.attnum, a.atttypid, format_type(a.atttypid, a.atttypmod) AS type_name INTO id
    FROM pg_attribute a
    WHERE a.attrelid = relation.oid AND a.attname = id_column AND a.attnum > 0 AND NOT a.attisdropped;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'table % has no column %', organizations, id_column
            USING ERRCODE = 'TM001', HINT = name_it || '.';
    END IF;
    IF id.atttypid <> 'uuid'::regtype THEN
        RAISE EXCEPTION 'column % of table % is of type %, not uuid', id_column, organizations, id.type_name
            USING ERRCODE = 'TM001',
                  HINT = 'Organizations are known by uuid here: add a unique uuid column and name it as organizations_id.';
    END IF;
    IF NOT EXISTS (
        SELECT FROM pg_index i
        WHERE i.indrelid = relation.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
          AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = id.attnum
    ) THEN
        RAISE EXCEPTION 'column % of table % is not unique, so mappings cannot reference it', id_column, organizations
            USING ERRCODE = 'TM001',
                  HINT = format('Run: ALTER TABLE %I.%I ADD UNIQUE (%I);', in_schema, in_table, id_column);
    END IF;

    -- 4. Rights.
    IF NOT has_schema_privilege(in_schema, 'USAGE') OR NOT has_table_privilege(relation.oid, 'REFERENCES')
       OR NOT has_table_privilege(relation.oid, 'SELECT') THEN
        RAISE EXCEPTION 'role % may not read or reference table %', current_user, organizations
            USING ERRCODE = 'TM001',
                  HINT = format('As its owner run: GRANT USAGE ON SCHEMA %I TO %I; GRANT SELECT, REFERENCES ON %I.%I TO %I;',
                                in_schema, current_user, in_schema, in_table, current_user);
    END IF;
    IF NOT has_schema_privilege(interface_schema, 'CREATE') THEN
        RAISE EXCEPTION 'role % may not create tables in schema %', current_user, interface_schema
            USING ERRCODE = 'TM001',
                  HINT = format('Run as its owner: GRANT USAGE, CREATE ON SCHEMA %I TO %I;', interface_schema, current_user);
    END IF;
    -- 5. Tables of our names that another tool made: taking them for ours would lose what they hold.
    IF to_regclass('tenant_migration.settings') IS NULL THEN
        SELECT c.relname INTO name_in_use
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = interface_schema AND c.relname IN ('tenant_org_mappings', 'migration_audit_log')
        ORDER BY c.relname DESC LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'table %.% is there already and was not made by this tool', interface_schema, name_in_use
                USING ERRCODE = 'TM001',
                      HINT = format('Rename it (ALTER TABLE %I.%I RENAME TO %I), install, then bring its mappings in with '
                                    '`tenant-migration mappings --import FILE.csv`.',
                                    interface_schema, name_in_use, name_in_use || '_old');
        END IF;
    END IF;
END $$;
