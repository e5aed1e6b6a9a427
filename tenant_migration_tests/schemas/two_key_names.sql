-- Two key names in one database, one of them mixed-case; one table has both.
CREATE TABLE public.invoices (id int PRIMARY KEY, tenant_id text NOT NULL);
CREATE TABLE public."WorkItems" ("workItemId" int PRIMARY KEY, "tenantId" text NOT NULL);
CREATE TABLE public."Both" (id int PRIMARY KEY, tenant_id text, "tenantId" text);
CREATE TABLE public.tenantid_in_lower_case (id int PRIMARY KEY, tenantid text); -- another name: not a key
INSERT INTO public.invoices VALUES (1, 'acme'), (2, 'globex');
INSERT INTO public."WorkItems" VALUES (1, 'acme'), (2, 'globex');
INSERT INTO public."Both" VALUES (1, 'acme', 'acme'), (2, 'globex', 'globex');
INSERT INTO public.tenantid_in_lower_case VALUES (1, 'acme');
