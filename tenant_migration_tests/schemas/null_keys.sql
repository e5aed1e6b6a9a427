-- Shared rows without a tenant, and a system tenant that is in no table of tenants.
CREATE TABLE public.templates (id int PRIMARY KEY, tenant_id text, title text NOT NULL);
INSERT INTO public.templates VALUES
    (1, NULL, 'shared'), (2, NULL, 'shared'), (3, 'acme', 'own'), (4, 'system', 'built in'), (5, 'globex', 'own');
