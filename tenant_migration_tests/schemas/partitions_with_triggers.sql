-- A partitioned table whose root has a trigger for each statement and one for each row.
CREATE TABLE outbox (id bigserial PRIMARY KEY, message text UNIQUE);
CREATE TABLE events (id integer, tenant_id text NOT NULL, PRIMARY KEY (id, tenant_id)) PARTITION BY LIST (tenant_id);
CREATE TABLE events_acme PARTITION OF events FOR VALUES IN ('acme');
CREATE TABLE events_rest PARTITION OF events DEFAULT;
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.outbox (message) VALUES (tg_name) ON CONFLICT (message) DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER each_statement AFTER UPDATE ON events FOR EACH STATEMENT EXECUTE FUNCTION tell();
CREATE TRIGGER each_row AFTER UPDATE ON events FOR EACH ROW EXECUTE FUNCTION tell();
INSERT INTO events SELECT n, CASE WHEN n % 2 = 0 THEN 'acme' ELSE 'zeta' END FROM generate_series(1, 10) AS n;
