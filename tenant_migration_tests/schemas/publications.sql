-- Published with and without replica identity, with a column list, through a partition root.
CREATE TABLE public.published (id int PRIMARY KEY, tenant_id text NOT NULL);
CREATE TABLE public.without_identity (id int, tenant_id text NOT NULL);
CREATE TABLE public.full_identity (id int, tenant_id text NOT NULL);
ALTER TABLE public.full_identity REPLICA IDENTITY FULL;
CREATE TABLE public.some_columns (id int PRIMARY KEY, tenant_id text NOT NULL, secret text);
CREATE TABLE public.only_inserts (id int, tenant_id text NOT NULL);
CREATE TABLE public.published_root (id int, tenant_id text NOT NULL) PARTITION BY LIST (tenant_id);
CREATE TABLE public.published_leaf PARTITION OF public.published_root DEFAULT;
CREATE PUBLICATION whole FOR TABLE public.published, public.without_identity, public.full_identity,
                                   public.published_root;
CREATE PUBLICATION narrow FOR TABLE public.some_columns (id, tenant_id);
CREATE PUBLICATION inserts FOR TABLE public.only_inserts WITH (publish = 'insert');
INSERT INTO public.published VALUES (1, 'acme'), (2, 'globex');
INSERT INTO public.without_identity VALUES (1, 'acme'), (2, 'globex');
INSERT INTO public.full_identity VALUES (1, 'acme'), (2, 'globex');
INSERT INTO public.some_columns VALUES (1, 'acme', 's'), (2, 'globex', 't');
INSERT INTO public.only_inserts VALUES (1, 'acme'), (2, 'globex');
INSERT INTO public.published_root VALUES (1, 'acme'), (2, 'globex');
