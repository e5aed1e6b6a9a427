-- Row filters and column lists: what the replica identity covers, and what it does not.
CREATE TABLE public.filtered (id int PRIMARY KEY, tenant_id text NOT NULL, live boolean);
CREATE TABLE public.filtered_by_key (id int PRIMARY KEY, tenant_id text NOT NULL);
CREATE TABLE public.list_without_key (id int PRIMARY KEY, tenant_id text NOT NULL);
CREATE TABLE public.list_and_full (id int PRIMARY KEY, tenant_id text NOT NULL, secret text);
ALTER TABLE public.list_and_full REPLICA IDENTITY FULL;
CREATE TABLE public.filtered_root (id int NOT NULL, tenant_id text NOT NULL, live boolean, PRIMARY KEY (id))
    PARTITION BY RANGE (id);
CREATE TABLE public.filtered_leaf PARTITION OF public.filtered_root DEFAULT;
CREATE PUBLICATION filters FOR TABLE public.filtered WHERE (live), public.filtered_by_key WHERE (id > 0),
                                     public.filtered_root WHERE (live) WITH (publish_via_partition_root);
CREATE PUBLICATION lists FOR TABLE public.list_without_key (tenant_id), public.list_and_full (id, tenant_id);
INSERT INTO public.filtered VALUES (1, 'acme', true);
INSERT INTO public.filtered_by_key VALUES (1, 'acme'), (2, 'globex');
INSERT INTO public.list_without_key VALUES (1, 'acme');
INSERT INTO public.list_and_full VALUES (1, 'acme', 's');
INSERT INTO public.filtered_root VALUES (1, 'acme', true);
-- A partition's own constraint, which the table above it does not have.
CREATE TABLE public.own_check (id int NOT NULL, tenant_id text, amount int) PARTITION BY RANGE (id);
CREATE TABLE public.own_check_leaf PARTITION OF public.own_check DEFAULT;
INSERT INTO public.own_check VALUES (1, 'acme', 1), (2, 'acme', 2);
ALTER TABLE public.own_check_leaf ADD CONSTRAINT positive CHECK (amount > 0) NOT VALID;
