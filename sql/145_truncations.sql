-- A table that the application emptied at once: no trigger sees its rows go, so that all of them are noted together.

-- What the journal says of the relation up to this batch is of rows that are gone, whatever has their keys now.
CREATE TABLE IF NOT EXISTS tenant_migration.truncations (
    table_id    integer NOT NULL REFERENCES tenant_migration.managed_tables,
    relation    oid NOT NULL,                    -- the table, or its partition
    after_batch bigint NOT NULL,                 -- newest batch of the table's journal at that moment
    PRIMARY KEY (table_id, relation)
);

-- Of the triggers on application tables, whose argument is the table's number. The application's TRUNCATE has the
-- table to itself, so no batch is between the number that is read here and its end.
CREATE OR REPLACE FUNCTION tenant_migration.note_truncation() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    numbers constant text := format('tenant_migration.journal_%s_batch_id_seq', TG_ARGV[0]::int4);
    newest  bigint;
BEGIN
    IF to_regclass(numbers) IS NULL THEN         -- no journal: nothing of ours was in it
        RETURN NULL;
    END IF;
    EXECUTE format('SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM %s', numbers) INTO newest;
    INSERT INTO tenant_migration.truncations (table_id, relation, after_batch)
    VALUES (TG_ARGV[0]::int4, TG_RELID, newest)
    ON CONFLICT (table_id, relation) DO UPDATE SET after_batch = excluded.after_batch;
    RETURN NULL;
END $$;
