-- How a run took the fingerprints of a table's rows, and whether it replaced values: what tells a verification
-- with what to compare. NULL: not known, since an earlier release wrote the run.

ALTER TABLE tenant_migration.table_runs
    ADD COLUMN IF NOT EXISTS fingerprint_columns name[],     -- in the order in which they were hashed
    ADD COLUMN IF NOT EXISTS fingerprint_formula smallint,   -- NULL: no fingerprints were taken
    ADD COLUMN IF NOT EXISTS overwrites          boolean;    -- only then may an entry have a previous value
