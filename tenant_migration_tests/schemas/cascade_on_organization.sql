-- A composite foreign key that holds the organization column, with ON UPDATE CASCADE.
CREATE TABLE public.teams (
    id              int PRIMARY KEY,
    tenant_id       text NOT NULL,
    organization_id uuid REFERENCES public.organizations,
    UNIQUE (organization_id, id)
);
CREATE TABLE public.members (
    id              int PRIMARY KEY,
    tenant_id       text NOT NULL,
    organization_id uuid,
    team_id         int,
    FOREIGN KEY (organization_id, team_id) REFERENCES public.teams (organization_id, id) ON UPDATE CASCADE
);
INSERT INTO public.teams VALUES (1, 'acme', NULL), (2, 'globex', NULL);
INSERT INTO public.members VALUES (1, 'acme', NULL, 1), (2, 'globex', NULL, 2);
