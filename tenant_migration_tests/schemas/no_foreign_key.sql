-- Tenants have a table, but only one table refers to it; the others are found by the key's name alone.
CREATE TABLE public.tenants (id text PRIMARY KEY, name text);
CREATE TABLE public.declared (id int PRIMARY KEY, tenant_id text NOT NULL REFERENCES public.tenants);
CREATE TABLE public.undeclared (id int PRIMARY KEY, tenant_id text NOT NULL);
INSERT INTO public.tenants VALUES ('acme', 'Acme'), ('globex', 'Globex');
INSERT INTO public.declared VALUES (1, 'acme'), (2, 'globex');
INSERT INTO public.undeclared VALUES (1, 'acme'), (2, 'globex'), (3, 'initech');
