-- organization_id is there already with another meaning: an integer, in primary keys and composite foreign keys.
CREATE TABLE public.departments (
    organization_id integer NOT NULL,
    code            text NOT NULL,
    tenant_id       text NOT NULL,
    PRIMARY KEY (organization_id, code)
);
CREATE TABLE public.staff (
    id              int PRIMARY KEY,
    organization_id integer NOT NULL,
    code            text NOT NULL,
    tenant_id       text NOT NULL,
    FOREIGN KEY (organization_id, code) REFERENCES public.departments
);
CREATE TABLE public.plain (id int PRIMARY KEY, tenant_id text NOT NULL);
INSERT INTO public.departments VALUES (7, 'it', 'acme'), (8, 'hr', 'globex');
INSERT INTO public.staff VALUES (1, 7, 'it', 'acme'), (2, 8, 'hr', 'globex');
INSERT INTO public.plain VALUES (1, 'acme'), (2, 'globex');
