-- Organizations that are there already with a key that is no uuid.
CREATE TABLE public.organizations (id bigint PRIMARY KEY, parent_id bigint REFERENCES public.organizations, name text);
CREATE TABLE public.claims (id int PRIMARY KEY, tenant_id text NOT NULL);
INSERT INTO public.organizations VALUES (1, NULL, 'Acme');
INSERT INTO public.claims VALUES (1, 'acme');
