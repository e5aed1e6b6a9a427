-- The key inside primary keys, foreign keys and uniques; ON UPDATE CASCADE on the tenants.
CREATE TABLE public.tenants (id text PRIMARY KEY);
CREATE TABLE public.projects (
    tenant_id text NOT NULL REFERENCES public.tenants ON UPDATE CASCADE,
    id        int NOT NULL,
    slug      text NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, slug)
);
CREATE TABLE public.tasks (
    tenant_id  text NOT NULL,
    id         int NOT NULL,
    project_id int NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, project_id) REFERENCES public.projects ON UPDATE CASCADE
);
INSERT INTO public.tenants VALUES ('acme'), ('globex');
INSERT INTO public.projects VALUES ('acme', 1, 'web'), ('globex', 1, 'web');
INSERT INTO public.tasks VALUES ('acme', 1, 1), ('globex', 1, 1), ('acme', 2, 1);
