-- organization_id uuid is there already: right and wrong values, unique, referring elsewhere, with default, generated.
CREATE TABLE public.half_done (
    id              int PRIMARY KEY,
    tenant_id       text NOT NULL,
    organization_id uuid REFERENCES public.organizations
);
CREATE INDEX half_done_organization_id_idx ON public.half_done (organization_id);
INSERT INTO public.half_done VALUES
    (1, 'acme', 'a0000000-0000-4000-8000-000000000001'),   -- as mapped
    (2, 'globex', 'a0000000-0000-4000-8000-000000000003'), -- not as mapped
    (3, 'acme', NULL);
CREATE TABLE public.with_default (
    id              int PRIMARY KEY,
    tenant_id       text NOT NULL,
    organization_id uuid DEFAULT gen_random_uuid()
);
CREATE TABLE public.with_check (
    id              int PRIMARY KEY,
    tenant_id       text NOT NULL,
    organization_id uuid CHECK (organization_id <> 'a0000000-0000-4000-8000-000000000002')
);
INSERT INTO public.with_check VALUES (1, 'acme'), (2, 'globex'); -- globex's organization is refused by the check
CREATE TABLE public.in_unique (
    id              int PRIMARY KEY,
    tenant_id       text NOT NULL,
    organization_id uuid,
    slug            text,
    UNIQUE (organization_id, slug)
);
CREATE TABLE public.in_unique_with_meaning (
    id              int PRIMARY KEY,
    tenant_id       text NOT NULL,
    organization_id uuid REFERENCES public.organizations,
    slug            text,
    UNIQUE (organization_id, slug)
);
CREATE TABLE public.places (id uuid PRIMARY KEY);
CREATE TABLE public.refers_elsewhere (
    id              int PRIMARY KEY,
    tenant_id       text NOT NULL,
    organization_id uuid REFERENCES public.places
);
CREATE TABLE public.never_null (
    id              int PRIMARY KEY,
    tenant_id       text NOT NULL,
    organization_id uuid NOT NULL REFERENCES public.organizations
);
INSERT INTO public.never_null VALUES (1, 'acme', 'a0000000-0000-4000-8000-000000000001');
