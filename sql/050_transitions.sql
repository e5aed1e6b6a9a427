-- States of runs, of tables in a run, and of (table, tenant) pairs: which may follow which, enforced and logged.
-- SQLSTATE TM003: a transition that is not in the table.
-- The trigger functions are SECURITY DEFINER: nobody needs, or gets, the right to write into the log.

CREATE TABLE IF NOT EXISTS tenant_migration.state_transitions (
    from_state text NOT NULL,
    to_state   text NOT NULL CHECK (to_state <> from_state),
    for_pairs  boolean NOT NULL,    -- false: a run as a whole may skip steps that a (table, tenant) pair may not
    PRIMARY KEY (from_state, to_state)
);

-- A run that died leaves its state behind; the next one takes the pair from there, so every state that works
-- may be followed by validating and running. Nothing goes back to pending: that is what forgetting a pair is.
WITH allowed (from_state, to_states, for_pairs) AS (VALUES
    ('pending',      '{validating,running,verifying,failed,blocked,cancelled,rolling_back}'::text[], true),
    ('validating',   '{running,paused,verifying,failed,blocked,cancelled,rolling_back}', true),
    ('validating',   '{completed}', false),
    ('running',      '{validating,paused,throttled,sweeping,verifying,failed,blocked,cancelled,rolling_back}', true),
    ('running',      '{completed}', false),
    ('paused',       '{validating,running,throttled,sweeping,verifying,failed,blocked,cancelled,rolling_back}', true),
    ('throttled',    '{validating,running,paused,sweeping,verifying,failed,blocked,cancelled,rolling_back}', true),
    ('sweeping',     '{validating,running,paused,throttled,verifying,failed,blocked,cancelled,rolling_back}', true),
    ('sweeping',     '{completed}', false),
    ('verifying',    '{validating,running,completed,failed,blocked,cancelled,rolling_back}', true),
    ('completed',    '{validating,running,verifying,failed,blocked,rolling_back}', true),
    ('failed',       '{validating,running,verifying,blocked,cancelled,rolling_back}', true),
    ('blocked',      '{validating,running,verifying,failed,cancelled,rolling_back}', true),
    ('cancelled',    '{validating,running,verifying,failed,blocked,rolling_back}', true),
    ('rolling_back', '{rolled_back,paused,throttled,failed,cancelled}', true),
    ('rolling_back', '{completed}', false),
    ('rolled_back',  '{validating,running,verifying,failed,blocked,cancelled,rolling_back}', true)
), wanted AS (
    SELECT from_state, unnest(to_states) AS to_state, for_pairs FROM allowed
), removed AS (
    DELETE FROM tenant_migration.state_transitions s
    WHERE NOT EXISTS (SELECT FROM wanted w WHERE (w.from_state, w.to_state) = (s.from_state, s.to_state))
)
INSERT INTO tenant_migration.state_transitions (from_state, to_state, for_pairs)
SELECT from_state, to_state, for_pairs FROM wanted
ON CONFLICT (from_state, to_state) DO UPDATE SET for_pairs = excluded.for_pairs;

CREATE TABLE IF NOT EXISTS tenant_migration.state_log (
    log_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    occurred_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_id        bigint,                         -- no reference: the log outlives what it tells about
    table_id      integer,                        -- NULL: the run as a whole
    tenant_number integer,                        -- NULL: the run, or the table's part of it
    from_state    text NOT NULL,
    to_state      text NOT NULL,
    actor         text NOT NULL,
    reason        text,
    database_role text NOT NULL DEFAULT session_user
);
CREATE INDEX IF NOT EXISTS state_log_pair_idx ON tenant_migration.state_log (table_id, tenant_number, log_id);

-- One row changes at a time, and every batch updates counters of the same row: row triggers with a WHEN.
CREATE OR REPLACE FUNCTION tenant_migration.check_run_state() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    was constant text := CASE TG_OP WHEN 'INSERT' THEN 'pending' ELSE OLD.state END;
    part_of_table integer := (to_jsonb(NEW) ->> 'table_id')::integer;    -- runs have no table
BEGIN
    IF NOT EXISTS (SELECT FROM tenant_migration.state_transitions t
                   WHERE t.from_state = was AND t.to_state = NEW.state) THEN
        RAISE EXCEPTION 'run %: state % cannot follow %', NEW.run_id, NEW.state, was USING ERRCODE = 'TM003';
    END IF;
    INSERT INTO tenant_migration.state_log (run_id, table_id, from_state, to_state, actor, reason)
    VALUES (NEW.run_id, part_of_table, was, NEW.state, NEW.actor, NEW.reason);
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER state_inserted AFTER INSERT ON tenant_migration.runs
    FOR EACH ROW WHEN (NEW.state <> 'pending') EXECUTE FUNCTION tenant_migration.check_run_state();
CREATE OR REPLACE TRIGGER state_updated AFTER UPDATE OF state ON tenant_migration.runs
    FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION tenant_migration.check_run_state();
CREATE OR REPLACE TRIGGER state_inserted AFTER INSERT ON tenant_migration.table_runs
    FOR EACH ROW WHEN (NEW.state <> 'pending') EXECUTE FUNCTION tenant_migration.check_run_state();
CREATE OR REPLACE TRIGGER state_updated AFTER UPDATE OF state ON tenant_migration.table_runs
    FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION tenant_migration.check_run_state();

-- 40,000 pairs may change in one statement: statement triggers over the changed rows as a set.
-- enable_nestloop: transition tables have no statistics; 5,000 pairs joined row by row took 4.2 s, hashed 0.1 s.
CREATE OR REPLACE FUNCTION tenant_migration.check_pair_states() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $$
DECLARE
    wrong record;
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT n.table_id, n.tenant_number, 'pending' AS from_state, n.state AS to_state INTO wrong
        FROM new_rows n
        WHERE n.state <> 'pending' AND NOT EXISTS (
            SELECT FROM tenant_migration.state_transitions t
            WHERE t.for_pairs AND t.from_state = 'pending' AND t.to_state = n.state)
        LIMIT 1;
        IF NOT FOUND THEN
            INSERT INTO tenant_migration.state_log (run_id, table_id, tenant_number, from_state, to_state, actor, reason)
            SELECT n.run_id, n.table_id, n.tenant_number, 'pending', n.state, n.actor, n.reason
            FROM new_rows n WHERE n.state <> 'pending';
            RETURN NULL;
        END IF;
    ELSE
        SELECT n.table_id, n.tenant_number, o.state AS from_state, n.state AS to_state INTO wrong
        FROM new_rows n LEFT JOIN old_rows o USING (table_id, tenant_number)
        WHERE n.state IS DISTINCT FROM o.state AND NOT EXISTS (   -- without an old row: somebody changed the key
            SELECT FROM tenant_migration.state_transitions t
            WHERE t.for_pairs AND t.from_state = o.state AND t.to_state = n.state)
        LIMIT 1;
        IF NOT FOUND THEN
            INSERT INTO tenant_migration.state_log (run_id, table_id, tenant_number, from_state, to_state, actor, reason)
            SELECT n.run_id, n.table_id, n.tenant_number, o.state, n.state, n.actor, n.reason
            FROM new_rows n JOIN old_rows o USING (table_id, tenant_number) WHERE n.state <> o.state;
            RETURN NULL;
        END IF;
    END IF;
    RAISE EXCEPTION 'table %.%, tenant %: state % cannot follow %',
        (SELECT table_schema FROM tenant_migration.managed_tables WHERE table_id = wrong.table_id),
        (SELECT table_name FROM tenant_migration.managed_tables WHERE table_id = wrong.table_id),
        (SELECT quote_literal(tenant_id) FROM tenant_migration.tenants WHERE tenant_number = wrong.tenant_number),
        wrong.to_state, coalesce(wrong.from_state, 'that of another pair')
        USING ERRCODE = 'TM003';
END $$;

CREATE OR REPLACE TRIGGER states_inserted AFTER INSERT ON tenant_migration.table_states
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_migration.check_pair_states();
CREATE OR REPLACE TRIGGER states_updated AFTER UPDATE ON tenant_migration.table_states
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_migration.check_pair_states();

-- A pair is only forgotten when nothing that we wrote is left of it, or by reset_migration().
CREATE OR REPLACE FUNCTION tenant_migration.forget_pairs() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    resetting constant boolean := coalesce(current_setting('tenant_migration.resetting', true), '') = 'on';
    live      record;
BEGIN
    SELECT o.table_id, o.tenant_number, o.rows_migrated INTO live
    FROM old_rows o WHERE o.rows_migrated > 0 AND NOT resetting LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'table %, tenant %: % rows carry a value that this tool wrote; their state cannot be deleted',
            live.table_id, live.tenant_number, live.rows_migrated USING ERRCODE = 'TM003', HINT = 'Roll the tenant back first.';
    END IF;
    INSERT INTO tenant_migration.state_log (run_id, table_id, tenant_number, from_state, to_state, actor, reason)
    SELECT o.run_id, o.table_id, o.tenant_number, o.state, 'pending', session_user,
           CASE WHEN resetting THEN 'reset_migration()' ELSE 'forgotten' END
    FROM old_rows o WHERE o.state <> 'pending';
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER states_deleted AFTER DELETE ON tenant_migration.table_states
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION tenant_migration.forget_pairs();
