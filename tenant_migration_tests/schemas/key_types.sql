-- The key has another type in every table. Tenants: acme, globex; 1, 2; two uuids.
CREATE TYPE public.tenant_name AS ENUM ('acme', 'globex');
CREATE DOMAIN public.tenant_code AS varchar(8) CHECK (VALUE <> '');
CREATE TABLE public.by_text    (id int PRIMARY KEY, tenant_id text);
CREATE TABLE public.by_varchar (id int PRIMARY KEY, tenant_id varchar(20));
CREATE TABLE public.by_char    (id int PRIMARY KEY, tenant_id char(8));
CREATE TABLE public.by_domain  (id int PRIMARY KEY, tenant_id public.tenant_code);
CREATE TABLE public.by_enum    (id int PRIMARY KEY, tenant_id public.tenant_name);
CREATE TABLE public.by_uuid    (id int PRIMARY KEY, tenant_id uuid);
CREATE TABLE public.by_integer (id int PRIMARY KEY, tenant_id integer);
CREATE TABLE public.by_bigint  (id int PRIMARY KEY, tenant_id bigint);
CREATE TABLE public.by_numeric (id int PRIMARY KEY, tenant_id numeric);
INSERT INTO public.by_text    VALUES (1, 'acme'), (2, 'globex'), (3, 'acme');
INSERT INTO public.by_varchar VALUES (1, 'acme'), (2, 'globex'), (3, 'acme');
INSERT INTO public.by_char    VALUES (1, 'acme'), (2, 'globex'), (3, 'acme');
INSERT INTO public.by_domain  VALUES (1, 'acme'), (2, 'globex'), (3, 'acme');
INSERT INTO public.by_enum    VALUES (1, 'acme'), (2, 'globex'), (3, 'acme');
INSERT INTO public.by_uuid    VALUES
    (1, 'b0000000-0000-4000-8000-00000000000a'), (2, 'b0000000-0000-4000-8000-00000000000b'),
    (3, 'b0000000-0000-4000-8000-00000000000a');
INSERT INTO public.by_integer VALUES (1, 1), (2, 2), (3, 1);
INSERT INTO public.by_bigint  VALUES (1, 1), (2, 2), (3, 1);
INSERT INTO public.by_numeric VALUES (1, 1), (2, 2.0), (3, 1);
