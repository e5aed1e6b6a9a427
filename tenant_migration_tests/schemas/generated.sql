-- Generated columns: the target itself, computed from the key, computed from the target; an identity column.
CREATE TABLE public.target_is_generated (
    id              int PRIMARY KEY,
    tenant_id       text NOT NULL,
    organization_id uuid GENERATED ALWAYS AS (md5(tenant_id)::uuid) STORED
);
CREATE TABLE public.from_key (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id text NOT NULL,
    label     text GENERATED ALWAYS AS ('tenant ' || tenant_id) STORED
);
CREATE TABLE public.from_target (
    id              int PRIMARY KEY,
    tenant_id       text NOT NULL,
    organization_id uuid,
    short           text GENERATED ALWAYS AS (organization_id::text) STORED
);
CREATE INDEX from_target_short_idx ON public.from_target (short);
INSERT INTO public.target_is_generated VALUES (1, 'acme'), (2, 'globex');
INSERT INTO public.from_key (tenant_id) VALUES ('acme'), ('globex');
INSERT INTO public.from_target VALUES (1, 'acme'), (2, 'globex');
