-- A key of a type that has no equality.
CREATE TABLE public.documents (id int PRIMARY KEY, tenant_id json);
INSERT INTO public.documents VALUES (1, '"acme"'), (2, '"globex"');
