-- What names the key beside tables: views, a materialized view, functions, policies.
CREATE TABLE public.claims (id int PRIMARY KEY, tenant_id text NOT NULL, amount numeric);
CREATE INDEX claims_tenant_id_idx ON public.claims (tenant_id);
INSERT INTO public.claims VALUES (1, 'acme', 10), (2, 'globex', 20);
CREATE VIEW public.claims_by_tenant AS SELECT tenant_id, count(*) FROM public.claims GROUP BY tenant_id;
CREATE VIEW public.claims_without_key AS SELECT id, amount FROM public.claims;
CREATE MATERIALIZED VIEW public.totals AS SELECT tenant_id, sum(amount) AS total FROM public.claims GROUP BY 1;
CREATE FUNCTION public.claims_of(wanted text) RETURNS SETOF public.claims LANGUAGE sql STABLE
    AS $$ SELECT * FROM public.claims WHERE tenant_id = wanted $$;
CREATE FUNCTION public.claims_standard(wanted text) RETURNS bigint LANGUAGE sql STABLE
    RETURN (SELECT count(*) FROM public.claims WHERE tenant_id = wanted);
CREATE FUNCTION public.unrelated(tenant_ids text[]) RETURNS int LANGUAGE sql AS $$ SELECT cardinality(tenant_ids) $$;
CREATE POLICY own_claims ON public.claims USING (tenant_id = current_setting('app.tenant_id', true));
CREATE POLICY any_claim ON public.claims FOR SELECT USING (amount > 0);
