-- What taking back needs: which tenants of a batch are undone, what was left alone, who is inside a long statement.

ALTER TABLE tenant_migration.settings
    ADD COLUMN IF NOT EXISTS emergency_stopped_at timestamptz,
    ADD COLUMN IF NOT EXISTS emergency_stopped_by text,
    ADD COLUMN IF NOT EXISTS emergency_reason     text,
    ADD COLUMN IF NOT EXISTS emergency_unstopped  text;   -- what could not be told to stop and may start at its release

-- A rollback's part of a table: entries of the journal = restored + changed + deleted, failed ones stay open.
ALTER TABLE tenant_migration.table_runs
    ADD COLUMN IF NOT EXISTS rows_restored bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS rows_changed  bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS rows_deleted  bigint NOT NULL DEFAULT 0;

-- The server process of the holder, so that an emergency stop can end what its client no longer ends.
ALTER TABLE tenant_migration.leases
    ADD COLUMN IF NOT EXISTS backend_pid   integer,
    ADD COLUMN IF NOT EXISTS backend_start timestamptz;

-- Statements that take longer than a batch (index builds, validation, backups), as long as they run.
CREATE TABLE IF NOT EXISTS tenant_migration.long_statements (
    backend_pid   integer NOT NULL,
    backend_start timestamptz NOT NULL,          -- with the pid: pids come again
    run_id        bigint NOT NULL REFERENCES tenant_migration.runs,
    table_id      integer REFERENCES tenant_migration.managed_tables,
    statement     text NOT NULL,                 -- in words, for people
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (backend_pid, backend_start)
);

-- Rows that a rollback did not reset, folded: row_keys[i], tenant_numbers[i] and found_values[i] belong together.
CREATE TABLE IF NOT EXISTS tenant_migration.left_alone (
    left_alone_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id         bigint NOT NULL REFERENCES tenant_migration.runs,
    table_id       integer NOT NULL REFERENCES tenant_migration.managed_tables,
    batch_id       bigint,                       -- of the table's journal; NULL: of no batch
    reason         text NOT NULL CHECK (reason IN ('changed', 'deleted', 'failed')),
    message        text,                         -- of `failed`: what the database said
    tenant_numbers integer[] NOT NULL,
    row_keys       jsonb[] NOT NULL CHECK (cardinality(row_keys) = cardinality(tenant_numbers)),
    found_values   uuid[] NOT NULL CHECK (cardinality(found_values) = cardinality(tenant_numbers)),
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS left_alone_run_idx ON tenant_migration.left_alone (run_id, table_id);

-- Journals of an earlier release: an open entry is one whose tenant is not in closed_tenants; part_of names the
-- batch that a divided one was a part of; closed_rows counts the entries of closed tenants.
DO $$
DECLARE
    journal record;
BEGIN
    FOR journal IN
        SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'tenant_migration' AND c.relkind = 'r' AND c.relname ~ '^journal_[0-9]+$'
          AND NOT EXISTS (SELECT FROM pg_attribute a
                          WHERE a.attrelid = c.oid AND a.attname = 'closed_rows' AND NOT a.attisdropped)
    LOOP
        EXECUTE format('ALTER TABLE tenant_migration.%I ADD COLUMN IF NOT EXISTS part_of bigint,'
                       ' ADD COLUMN IF NOT EXISTS closed_tenants integer[] NOT NULL DEFAULT ''{}'','
                       ' ADD COLUMN IF NOT EXISTS closed_rows integer NOT NULL DEFAULT 0',
                       journal.relname);
    END LOOP;
END $$;
