-- Quotes, blanks, dots, percent signs, key words and names of 63 bytes.
CREATE SCHEMA "a.b";
CREATE TABLE public."select" ("order" int PRIMARY KEY, tenant_id text NOT NULL, "%s" text);
CREATE TABLE public."it's ""quoted"" {0}" ("the id" int PRIMARY KEY, tenant_id text NOT NULL);
CREATE TABLE "a.b".c (id int PRIMARY KEY, tenant_id text NOT NULL);
CREATE TABLE public.a_name_that_is_exactly_sixty_three_bytes_long_in_the_catalog_xx (id int PRIMARY KEY, tenant_id text NOT NULL);
CREATE TABLE public."größe 東京" (id int PRIMARY KEY, tenant_id text NOT NULL);
INSERT INTO public."select" VALUES (1, 'acme', 'x'), (2, 'globex', 'y');
INSERT INTO public."it's ""quoted"" {0}" VALUES (1, 'acme'), (2, 'globex');
INSERT INTO "a.b".c VALUES (1, 'acme'), (2, 'globex');
INSERT INTO public.a_name_that_is_exactly_sixty_three_bytes_long_in_the_catalog_xx VALUES (1, 'acme'), (2, 'globex');
INSERT INTO public."größe 東京" VALUES (1, 'acme'), (2, 'globex');
