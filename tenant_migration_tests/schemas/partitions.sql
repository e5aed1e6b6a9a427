-- Range, list, hash and nested partitions, composite keys, a default partition, no key at all; a leaf's own index.
CREATE TABLE public.events (
    id          int NOT NULL,
    inserted_at date NOT NULL,
    tenant_id   text,
    PRIMARY KEY (id, inserted_at)
) PARTITION BY RANGE (inserted_at);
CREATE TABLE public.events_2024 PARTITION OF public.events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE public.events_2025 PARTITION OF public.events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE public.events_default PARTITION OF public.events DEFAULT;
CREATE TABLE public.regions (id int NOT NULL, region text NOT NULL, tenant_id text, PRIMARY KEY (id, region))
    PARTITION BY LIST (region);
CREATE TABLE public.regions_eu PARTITION OF public.regions FOR VALUES IN ('eu') PARTITION BY RANGE (id);
CREATE TABLE public.regions_eu_low PARTITION OF public.regions_eu FOR VALUES FROM (0) TO (100);
CREATE TABLE public.regions_eu_high PARTITION OF public.regions_eu FOR VALUES FROM (100) TO (200);
CREATE TABLE public.regions_us PARTITION OF public.regions FOR VALUES IN ('us');
CREATE TABLE public.spread (tenant_id text, payload int) PARTITION BY HASH (payload); -- no key
CREATE TABLE public.spread_0 PARTITION OF public.spread FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE public.spread_1 PARTITION OF public.spread FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE public.event_notes (
    id          int PRIMARY KEY,
    tenant_id   text,
    event_id    int,
    inserted_at date,
    FOREIGN KEY (event_id, inserted_at) REFERENCES public.events
);
INSERT INTO public.events
SELECT n, date '2024-06-01' + n * 30, CASE WHEN n % 2 = 0 THEN 'acme' ELSE 'globex' END
  FROM generate_series(1, 20) AS n;
INSERT INTO public.events VALUES (99, '2031-01-01', 'acme');
INSERT INTO public.regions VALUES (1, 'eu', 'acme'), (101, 'eu', 'globex'), (1, 'us', 'acme');
INSERT INTO public.spread SELECT CASE WHEN n % 3 = 0 THEN 'acme' ELSE 'globex' END, n FROM generate_series(1, 10) AS n;
INSERT INTO public.event_notes SELECT id, tenant_id, id, inserted_at FROM public.events;
