-- A table that a crash empties.
CREATE UNLOGGED TABLE public.sessions (id int PRIMARY KEY, tenant_id text NOT NULL);
INSERT INTO public.sessions VALUES (1, 'acme'), (2, 'globex');
