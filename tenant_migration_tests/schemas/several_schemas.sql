-- The same table name in several schemas, one of them mixed-case; a child that refers across schemas.
CREATE SCHEMA sales;
CREATE SCHEMA "Sales";
CREATE SCHEMA archive;
CREATE TABLE sales.orders (id int PRIMARY KEY, tenant_id text NOT NULL);
CREATE TABLE "Sales".orders (id int PRIMARY KEY, tenant_id text NOT NULL);
CREATE TABLE archive.orders (id int PRIMARY KEY, tenant_id text NOT NULL);
CREATE TABLE public.orders (id int PRIMARY KEY, tenant_id text NOT NULL, original int REFERENCES sales.orders);
INSERT INTO sales.orders VALUES (1, 'acme'), (2, 'globex');
INSERT INTO "Sales".orders VALUES (1, 'acme');
INSERT INTO archive.orders VALUES (1, 'initech');
INSERT INTO public.orders VALUES (1, 'acme', 1), (2, 'globex', 2);
