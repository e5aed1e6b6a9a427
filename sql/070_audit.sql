-- Who did what, when, with which outcome. Append only, and each row sealed with the hash of the one before:
-- what the owner changes in spite of the triggers, verify_audit_chain() finds. A cut tail it cannot find; for
-- that its count and head are kept outside of the database.
-- SQLSTATE TM005: an attempt to change the past.

CREATE TABLE IF NOT EXISTS :"interface_schema".migration_audit_log (
    seq           bigint PRIMARY KEY,            -- 1, 2, 3, ... without gaps
    occurred_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    operation     text NOT NULL CHECK (operation <> ''),
    actor         text NOT NULL CHECK (actor <> ''),    -- the person or job, as the tool knows it
    database_role text NOT NULL DEFAULT session_user,   -- as whom it connected
    run_id        bigint,
    table_name    text,                          -- schema.table; names, not ids: they survive dump and restore
    tenant_id     text,
    outcome       text NOT NULL CHECK (outcome <> ''),
    counts        jsonb NOT NULL DEFAULT '{}',
    duration_ms   bigint,
    detail        jsonb NOT NULL DEFAULT '{}',
    tool_version  text,
    prev_hash     text NOT NULL UNIQUE,          -- one successor for each row: the chain cannot fork
    hash          text NOT NULL
);
CREATE INDEX IF NOT EXISTS migration_audit_log_tenant_idx ON :"interface_schema".migration_audit_log (tenant_id, seq);
CREATE INDEX IF NOT EXISTS migration_audit_log_table_idx ON :"interface_schema".migration_audit_log (table_name, seq);
CREATE INDEX IF NOT EXISTS migration_audit_log_occurred_idx ON :"interface_schema".migration_audit_log (occurred_at);

CREATE OR REPLACE VIEW tenant_migration.migration_audit_log WITH (security_invoker = true) AS
    SELECT * FROM :"interface_schema".migration_audit_log;

-- What is sealed: the predecessor's hash and the row as one jsonb array; jsonb has one text for each value, and
-- the time is written in UTC, so that no setting of the session changes the hash.
CREATE OR REPLACE FUNCTION tenant_migration.audit_hash(
    prev_hash text, seq bigint, occurred_at timestamptz, operation text, actor text, database_role text,
    run_id bigint, table_name text, tenant_id text, outcome text, counts jsonb, duration_ms bigint, detail jsonb,
    tool_version text
) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN encode(sha256(convert_to(prev_hash || jsonb_build_array(
    seq, to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), operation, actor, database_role,
    run_id, table_name, tenant_id, outcome, counts, duration_ms, detail, tool_version)::text, 'UTF8')), 'hex');

CREATE OR REPLACE FUNCTION tenant_migration.seal_audit_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('tenant_migration audit', 0));   -- held to commit: one chain
    SELECT l.seq + 1, l.hash INTO NEW.seq, NEW.prev_hash
    FROM tenant_migration.migration_audit_log l ORDER BY l.seq DESC LIMIT 1;
    IF NOT FOUND THEN
        NEW.seq := 1;
        NEW.prev_hash := repeat('0', 64);
    END IF;
    NEW.occurred_at := clock_timestamp();
    NEW.database_role := session_user;
    NEW.hash := tenant_migration.audit_hash(
        NEW.prev_hash, NEW.seq, NEW.occurred_at, NEW.operation, NEW.actor, NEW.database_role, NEW.run_id,
        NEW.table_name, NEW.tenant_id, NEW.outcome, NEW.counts, NEW.duration_ms, NEW.detail, NEW.tool_version);
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER seal BEFORE INSERT ON :"interface_schema".migration_audit_log
    FOR EACH ROW EXECUTE FUNCTION tenant_migration.seal_audit_row();

CREATE OR REPLACE FUNCTION tenant_migration.refuse_to_change_audit() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '%.% is append only: % refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'TM005', HINT = 'Append a row that corrects the earlier one.';
END $$;
CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON :"interface_schema".migration_audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_migration.refuse_to_change_audit();
ALTER TABLE :"interface_schema".migration_audit_log ENABLE ALWAYS TRIGGER append_only;  -- under replica role too

-- The one way in. SECURITY DEFINER, so that nobody needs the right to INSERT; returns the row's seq.
CREATE OR REPLACE FUNCTION tenant_migration.append_audit(
    operation text, actor text, outcome text, run_id bigint DEFAULT NULL, table_name text DEFAULT NULL,
    tenant_id text DEFAULT NULL, counts jsonb DEFAULT '{}', duration_ms bigint DEFAULT NULL,
    detail jsonb DEFAULT '{}', tool_version text DEFAULT NULL
) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO tenant_migration.migration_audit_log
        (operation, actor, outcome, run_id, table_name, tenant_id, counts, duration_ms, detail, tool_version)
    VALUES (append_audit.operation, append_audit.actor, append_audit.outcome, append_audit.run_id,
            append_audit.table_name, append_audit.tenant_id, coalesce(append_audit.counts, '{}'),
            append_audit.duration_ms, coalesce(append_audit.detail, '{}'), append_audit.tool_version)
    RETURNING seq;
$$;

-- The first row whose seal is broken (NULL: none), how many rows there are, and the newest hash: the anchor to
-- keep outside of the database.
CREATE OR REPLACE FUNCTION tenant_migration.verify_audit_chain(
    OUT first_bad_seq bigint, OUT entries bigint, OUT head text
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT min(seq) FILTER (WHERE NOT sound),
           count(*),
           coalesce((array_agg(hash ORDER BY seq DESC))[1], repeat('0', 64))
    FROM (
        SELECT seq, hash,
               seq = row_number() OVER (ORDER BY seq)
               AND prev_hash = coalesce(lag(hash) OVER (ORDER BY seq), repeat('0', 64))
               AND hash = tenant_migration.audit_hash(prev_hash, seq, occurred_at, operation, actor, database_role,
                                                      run_id, table_name, tenant_id, outcome, counts, duration_ms,
                                                      detail, tool_version) AS sound
        FROM tenant_migration.migration_audit_log
    ) AS checked;
$$;
