-- The key has other names where a foreign key to the tenants' table says what it is.
CREATE TABLE public.tenants (id text PRIMARY KEY, parent text REFERENCES public.tenants, name text);
CREATE TABLE public.named (id int PRIMARY KEY, tenant_id text NOT NULL REFERENCES public.tenants);
CREATE TABLE public.by_reference (id int PRIMARY KEY, owning_account text NOT NULL REFERENCES public.tenants);
CREATE TABLE public.two_references (
    id     int PRIMARY KEY,
    seller text NOT NULL REFERENCES public.tenants,
    buyer  text NOT NULL REFERENCES public.tenants
);
CREATE TABLE public.refers_to_named (id int PRIMARY KEY, named_id int REFERENCES public.named); -- derivable only
INSERT INTO public.tenants VALUES ('acme', NULL, 'Acme'), ('globex', 'acme', 'Globex');
INSERT INTO public.named VALUES (1, 'acme'), (2, 'globex');
INSERT INTO public.by_reference VALUES (1, 'acme'), (2, 'globex');
INSERT INTO public.two_references VALUES (1, 'acme', 'globex');
INSERT INTO public.refers_to_named VALUES (1, 1), (2, NULL);
