-- Old-style inheritance: a statement on the parent reaches the child's rows.
CREATE TABLE public.vehicles (id int PRIMARY KEY, tenant_id text NOT NULL);
CREATE TABLE public.cars (doors int) INHERITS (public.vehicles);
INSERT INTO public.vehicles VALUES (1, 'acme');
INSERT INTO public.cars VALUES (2, 'globex', 4);
