-- No key at all, with equal rows; a unique NOT NULL index; uniques that do not tell rows apart.
CREATE TABLE public.no_key (tenant_id text, amount int);
CREATE TABLE public.unique_not_null (code text NOT NULL UNIQUE, tenant_id text);
CREATE TABLE public.unique_nullable (code text UNIQUE, tenant_id text);
CREATE TABLE public.unique_partial (code text NOT NULL, tenant_id text);
CREATE UNIQUE INDEX unique_partial_idx ON public.unique_partial (code) WHERE tenant_id IS NOT NULL;
CREATE TABLE public.unique_deferrable (code text NOT NULL UNIQUE DEFERRABLE, tenant_id text);
CREATE TABLE public.unique_expression (code text NOT NULL, tenant_id text);
CREATE UNIQUE INDEX unique_expression_idx ON public.unique_expression (lower(code));
INSERT INTO public.no_key VALUES ('acme', 1), ('acme', 1), ('globex', 2);
INSERT INTO public.unique_not_null VALUES ('a', 'acme'), ('b', 'globex');
INSERT INTO public.unique_nullable VALUES ('a', 'acme'), (NULL, 'acme'), (NULL, 'globex');
INSERT INTO public.unique_partial VALUES ('a', 'acme'), ('a', NULL);
INSERT INTO public.unique_deferrable VALUES ('a', 'acme'), ('b', 'globex');
INSERT INTO public.unique_expression VALUES ('a', 'acme'), ('b', 'globex');
