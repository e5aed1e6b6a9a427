-- Backups: what there is, of which tables, how much, since when; registered before anything is made.

-- `complete` is set in the transaction that holds the rows: a backup whose process died has none, and is never listed.
CREATE TABLE IF NOT EXISTS tenant_migration.backups (
    backup_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id        bigint NOT NULL REFERENCES tenant_migration.runs,
    state         text NOT NULL DEFAULT 'creating' CHECK (state IN ('creating', 'complete', 'failed', 'dropped')),
    reason        text,                          -- of failed
    tenants       text[],                        -- NULL: whole tables
    created_by    text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),  -- of a complete one: when its snapshot was taken
    finished_at   timestamptz,
    tool_version  text NOT NULL,
    backend_pid   integer NOT NULL,              -- who makes it
    backend_start timestamptz NOT NULL,
    space         text NOT NULL,                 -- what was known of the space beforehand, for people
    lsn           pg_lsn,
    snapshot      pg_snapshot,                   -- which transactions' work it holds
    held_by       text,
    held_at       timestamptz,
    directory     text,                          -- where it was exported to
    CHECK (state <> 'complete' OR num_nulls(finished_at, lsn, snapshot) = 0)
);

-- What a backup consists of. Only relations that are named here, by these names, are ever dropped as backups.
CREATE TABLE IF NOT EXISTS tenant_migration.backed_up_tables (
    backup_id        bigint NOT NULL REFERENCES tenant_migration.backups,
    table_id         integer NOT NULL REFERENCES tenant_migration.managed_tables,
    relation         name NOT NULL,              -- in schema tenant_migration
    backup_column    name,                       -- holds the backup's number; NULL: the relation is this backup's alone
    column_names     name[] NOT NULL,            -- every column of the source, in order
    row_count        bigint,
    source_checksum  numeric,                    -- in the snapshot
    copy_checksum    numeric,                    -- read back
    journal_batch_id bigint,                     -- last batch of the table's journal in the snapshot; NULL: no journal
    PRIMARY KEY (backup_id, table_id)
);
CREATE INDEX IF NOT EXISTS backed_up_tables_relation_idx ON tenant_migration.backed_up_tables (relation);

-- Who counts on a backup: a process that is about to migrate, then its run. No cleanup drops it before that has ended.
CREATE TABLE IF NOT EXISTS tenant_migration.relied_on_backups (
    reliance_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    backup_id    bigint NOT NULL REFERENCES tenant_migration.backups,
    host         text NOT NULL,
    process_id   integer NOT NULL,
    relied_on_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    run_id       bigint REFERENCES tenant_migration.runs   -- NULL: not begun yet
);
CREATE INDEX IF NOT EXISTS relied_on_backups_backup_idx ON tenant_migration.relied_on_backups (backup_id);

ALTER TABLE tenant_migration.backups
    ADD COLUMN IF NOT EXISTS bytes_expected bigint,      -- what it was estimated to take, before it was made
    DROP COLUMN IF EXISTS relied_on_at;
-- How both checksums of a table were computed: only those of the same formula can be compared.
ALTER TABLE tenant_migration.backed_up_tables ADD COLUMN IF NOT EXISTS checksum_formula smallint NOT NULL DEFAULT 1;
