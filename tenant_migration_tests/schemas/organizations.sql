-- The organizations of every schema here: a root and five below it.
CREATE TABLE public.organizations (
    id        uuid PRIMARY KEY,
    parent_id uuid REFERENCES public.organizations,
    slug      text UNIQUE,
    name      text NOT NULL
);
INSERT INTO public.organizations VALUES
    ('a0000000-0000-4000-8000-000000000000', NULL, 'root', 'Root'),
    ('a0000000-0000-4000-8000-000000000001', 'a0000000-0000-4000-8000-000000000000', 'acme', 'Acme'),
    ('a0000000-0000-4000-8000-000000000002', 'a0000000-0000-4000-8000-000000000000', 'globex', 'Globex'),
    ('a0000000-0000-4000-8000-000000000003', 'a0000000-0000-4000-8000-000000000000', 'initech', 'Initech'),
    ('a0000000-0000-4000-8000-000000000004', 'a0000000-0000-4000-8000-000000000000', 'umbrella', 'Umbrella'),
    ('a0000000-0000-4000-8000-000000000005', 'a0000000-0000-4000-8000-000000000000', 'hooli', 'Hooli');
