-- Tenant ids as people typed them; each is a tenant of its own.
CREATE TABLE public.notes (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id text NOT NULL);
CREATE INDEX notes_tenant_id_idx ON public.notes (tenant_id);
INSERT INTO public.notes (tenant_id)
SELECT tenant FROM unnest(ARRAY[
    'acme', 'ACME', 'o''brien-gmbh', 't,"quoted"', 'café 東京', '00123', '123', ' acme', '', '''; DROP TABLE notes; --'
]) AS tenant, generate_series(1, 2);
