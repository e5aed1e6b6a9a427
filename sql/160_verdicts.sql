-- What the last verification said of each tenant in each table: the newest alone, the history is in the reports.
-- Holds names of checks only, no keys of rows.

CREATE TABLE IF NOT EXISTS tenant_migration.verdicts (
    table_id      integer NOT NULL REFERENCES tenant_migration.managed_tables,
    tenant_number integer NOT NULL REFERENCES tenant_migration.tenants,
    phase         text NOT NULL CHECK (phase IN ('post-migration', 'post-rollback')),
    outcome       text NOT NULL CHECK (outcome IN ('passed', 'warning', 'failed', 'errored')),
    checks_passed integer NOT NULL,              -- how many looked at the table and have nothing against it
    failed_checks text[] NOT NULL,               -- names, critical ones and warnings
    run_id        bigint REFERENCES tenant_migration.runs,        -- whose own verification it was
    report_id     bigint REFERENCES tenant_migration.reports,
    judged_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (table_id, tenant_number),
    CHECK ((outcome = 'passed') = (failed_checks = '{}'))
);
