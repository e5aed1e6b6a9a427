-- A foreign table with the key, and a partition that is on another server.
CREATE FOREIGN TABLE public.elsewhere (id int, tenant_id text) SERVER nowhere;
CREATE TABLE public.mixed (id int, tenant_id text) PARTITION BY LIST (tenant_id);
CREATE TABLE public.mixed_here PARTITION OF public.mixed FOR VALUES IN ('acme');
CREATE FOREIGN TABLE public.mixed_elsewhere PARTITION OF public.mixed FOR VALUES IN ('globex') SERVER nowhere;
INSERT INTO public.mixed_here VALUES (1, 'acme');
