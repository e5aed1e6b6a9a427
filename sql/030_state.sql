-- Plan, created objects, runs, cursors, leases, states, quarantine, reports.

CREATE TABLE IF NOT EXISTS tenant_migration.plans (
    plan_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    plan         jsonb NOT NULL,               -- planning.model.Plan as JSON
    plan_hash    text NOT NULL,
    tool_version text NOT NULL,
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);

-- The tables of the newest plan, and those of earlier ones (retired_at set) whose journals may still be needed.
CREATE TABLE IF NOT EXISTS tenant_migration.managed_tables (
    table_id            integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_schema        name NOT NULL,
    table_name          name NOT NULL,
    tenant_column       name NOT NULL,
    organization_column name NOT NULL,
    key_type            text NOT NULL,         -- tenant key's type, quoted "schema"."name": what keys are cast to
    position            integer NOT NULL,
    component           integer NOT NULL,
    tenant_required     boolean NOT NULL DEFAULT false,
    table_hash          text NOT NULL,
    retired_at          timestamptz,
    UNIQUE (table_schema, table_name)
);

CREATE TABLE IF NOT EXISTS tenant_migration.managed_relations (
    relation_id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL,
    child_table_id  integer NOT NULL REFERENCES tenant_migration.managed_tables,
    child_columns   name[] NOT NULL,
    parent_table_id integer NOT NULL REFERENCES tenant_migration.managed_tables,
    parent_columns  name[] NOT NULL,
    source          text NOT NULL CHECK (source IN ('foreign_key', 'configuration')),
    validated       boolean NOT NULL,
    UNIQUE (child_table_id, name)
);

CREATE TABLE IF NOT EXISTS tenant_migration.runs (
    run_id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind             text NOT NULL
        CHECK (kind IN ('migrate', 'rollback', 'restore', 'validate', 'verify', 'backup', 'finalize')),
    state            text NOT NULL DEFAULT 'pending',
    actor            text NOT NULL,
    selection        jsonb NOT NULL DEFAULT '{}',  -- {"tables": [...] | null, "tenants": [...] | null}
    dagster_run_id   text,
    mapping_checksum text,
    tool_version     text NOT NULL,
    host             text NOT NULL,
    process_id       integer NOT NULL,
    reason           text,
    started_at       timestamptz NOT NULL DEFAULT now(),
    finished_at      timestamptz
);

-- The mapping as it was when the run started, one row for each tenant and type of key: the canonical text of
-- the key for that type (uuid 'AB-..' -> 'ab-..'), computed once. Read by batches, journals and rollbacks.
CREATE TABLE IF NOT EXISTS tenant_migration.run_tenants (
    run_id          bigint NOT NULL REFERENCES tenant_migration.runs,
    key_type        text NOT NULL,
    tenant_number   integer NOT NULL REFERENCES tenant_migration.tenants,
    key             text NOT NULL,
    organization_id uuid NOT NULL,
    PRIMARY KEY (run_id, key_type, tenant_number)
);

-- One table's part of a run.
CREATE TABLE IF NOT EXISTS tenant_migration.table_runs (
    run_id           bigint NOT NULL REFERENCES tenant_migration.runs,
    table_id         integer NOT NULL REFERENCES tenant_migration.managed_tables,
    state            text NOT NULL DEFAULT 'pending',
    reason           text,                       -- of the state: why paused, throttled, failed, blocked
    actor            text NOT NULL,
    strategy         text,
    rows_expected    bigint,
    rows_migrated    bigint NOT NULL DEFAULT 0,
    rows_kept        bigint NOT NULL DEFAULT 0,
    rows_quarantined bigint NOT NULL DEFAULT 0,
    rows_hot         bigint NOT NULL DEFAULT 0,
    batches          integer NOT NULL DEFAULT 0,
    started_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_batch_at    timestamptz,
    finished_at      timestamptz,
    PRIMARY KEY (run_id, table_id)
);

-- Where the bulk pass over a leaf table stands. One row a leaf, kept between runs: this is what resumes.
CREATE TABLE IF NOT EXISTS tenant_migration.cursors (
    table_id         integer NOT NULL REFERENCES tenant_migration.managed_tables,
    leaf             oid NOT NULL,
    leaf_name        text NOT NULL,
    relfilenode      oid NOT NULL,               -- another one: the table was rewritten, the pass starts anew
    mapping_checksum text NOT NULL,              -- another one: the mapping grew, the pass starts anew
    next_page        bigint NOT NULL DEFAULT 0,  -- first page of the current window
    window_end_page  bigint,                     -- NULL between windows
    wave             smallint NOT NULL DEFAULT 0,
    end_page         bigint NOT NULL,            -- fixed at the start of the pass
    finished         boolean NOT NULL DEFAULT false,
    run_id           bigint NOT NULL REFERENCES tenant_migration.runs,
    updated_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (table_id, leaf)
);

-- The right to write to (table, tenant). tenant_scope is the unbounded range for all tenants, [n,n] for one:
-- two leases that overlap cannot both be there (R18). Every batch renews its own inside its transaction.
CREATE TABLE IF NOT EXISTS tenant_migration.leases (
    token        uuid PRIMARY KEY,
    table_id     integer NOT NULL REFERENCES tenant_migration.managed_tables,
    tenant_scope int4range NOT NULL,
    run_id       bigint NOT NULL REFERENCES tenant_migration.runs,
    holder       text NOT NULL,                  -- who, where, which run: for the person who has to wait
    acquired_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at   timestamptz NOT NULL,
    EXCLUDE USING gist (int4range(table_id, table_id, '[]') WITH &&, tenant_scope WITH &&)
);

-- State of each (table, tenant): the truth about what is migrated. The mapping's status follows from it.
CREATE TABLE IF NOT EXISTS tenant_migration.table_states (
    table_id      integer NOT NULL REFERENCES tenant_migration.managed_tables,
    tenant_number integer NOT NULL REFERENCES tenant_migration.tenants,
    state         text NOT NULL DEFAULT 'pending',
    rows_migrated bigint NOT NULL DEFAULT 0 CHECK (rows_migrated >= 0), -- rows that now carry a value written by us
    rows_kept     bigint NOT NULL DEFAULT 0,      -- rows whose own value was kept
    run_id        bigint REFERENCES tenant_migration.runs,
    actor         text NOT NULL,
    reason        text,
    verified_at   timestamptz,
    updated_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (table_id, tenant_number)
);
CREATE INDEX IF NOT EXISTS table_states_tenant_number_idx ON tenant_migration.table_states (tenant_number);

-- What the tool made in the application's tables and its own: registered before it is created, so that a
-- crash can be cleaned and only what is listed here may ever be dropped by us.
CREATE TABLE IF NOT EXISTS tenant_migration.created_objects (
    object_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_id      integer NOT NULL REFERENCES tenant_migration.managed_tables,
    kind          text NOT NULL CHECK (kind IN ('column', 'index', 'foreign_key', 'constraint', 'trigger', 'journal')),
    object_schema name NOT NULL,
    object_name   name NOT NULL,                 -- of a column: the column; else the object
    on_relation   text NOT NULL,                 -- schema.table that carries it
    definition    text NOT NULL,
    run_id        bigint REFERENCES tenant_migration.runs,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at    timestamptz,                   -- NULL: registered, perhaps not created
    dropped_at    timestamptz
);
CREATE UNIQUE INDEX IF NOT EXISTS created_objects_one_alive
    ON tenant_migration.created_objects (kind, object_schema, object_name, on_relation) WHERE dropped_at IS NULL;

CREATE TABLE IF NOT EXISTS tenant_migration.quarantine (
    quarantine_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id        bigint NOT NULL REFERENCES tenant_migration.runs,
    table_id      integer NOT NULL REFERENCES tenant_migration.managed_tables,
    leaf          oid NOT NULL,
    tenant_number integer NOT NULL REFERENCES tenant_migration.tenants,
    row_key       jsonb NOT NULL,                -- key columns and values; without a key, the ctid
    sqlstate      text NOT NULL,
    constraint_name text,
    message       text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    resolved_at   timestamptz                    -- the row was filled, or is gone
);
CREATE INDEX IF NOT EXISTS quarantine_open_idx
    ON tenant_migration.quarantine (table_id, tenant_number) WHERE resolved_at IS NULL;

CREATE TABLE IF NOT EXISTS tenant_migration.reports (
    report_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id     bigint REFERENCES tenant_migration.runs,
    phase      text NOT NULL CHECK (phase IN ('pre-migration', 'post-migration')),
    status     text NOT NULL CHECK (status IN ('pass', 'warning', 'fail')),
    report     jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
