-- What the last verification said of each tenant in each table. One row a pair and phase, the newest; the history
-- is in the reports. Holds names of checks only, no keys of rows.

CREATE TABLE IF NOT EXISTS tenant_migration.verdicts (
    table_id      integer NOT NULL REFERENCES tenant_migration.managed_tables,
    tenant_number integer NOT NULL REFERENCES tenant_migration.tenants,
    phase         text NOT NULL CHECK (phase IN ('post-migration', 'post-rollback')),
    outcome       text NOT NULL CHECK (outcome IN ('passed', 'warning', 'failed', 'errored')),
    checks_passed integer NOT NULL,              -- how many looked at it and found nothing
    failed_checks text[] NOT NULL,               -- names, critical and warnings
    run_id        bigint REFERENCES tenant_migration.runs,        -- whose own verification it was
    report_id     bigint REFERENCES tenant_migration.reports,
    judged_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (table_id, tenant_number, phase),
    CHECK ((outcome = 'passed') = (failed_checks = '{}'))
);
CREATE INDEX IF NOT EXISTS verdicts_not_passed_idx ON tenant_migration.verdicts (table_id) WHERE outcome <> 'passed';
