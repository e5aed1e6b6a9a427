-- A rewrite rule that puts another statement in the place of every UPDATE.
CREATE TABLE public.ruled (id int PRIMARY KEY, tenant_id text);
INSERT INTO public.ruled VALUES (1, 'acme'), (2, 'globex');
CREATE RULE no_update AS ON UPDATE TO public.ruled DO INSTEAD NOTHING;
