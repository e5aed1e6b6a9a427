-- Every DDL emits a warning.
CREATE TABLE public.watched (id int PRIMARY KEY, tenant_id text NOT NULL);
INSERT INTO public.watched VALUES (1, 'acme'), (2, 'globex');
