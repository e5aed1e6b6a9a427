-- Everything that can be checked at commit is.
CREATE TABLE public.tenants (id text PRIMARY KEY);
CREATE TABLE public.accounts (
    id        int PRIMARY KEY,
    tenant_id text NOT NULL REFERENCES public.tenants DEFERRABLE INITIALLY DEFERRED,
    rank      int UNIQUE DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE public.entries (
    id         int PRIMARY KEY,
    tenant_id  text NOT NULL REFERENCES public.tenants DEFERRABLE INITIALLY DEFERRED,
    account_id int NOT NULL REFERENCES public.accounts DEFERRABLE INITIALLY DEFERRED
);
INSERT INTO public.tenants VALUES ('acme'), ('globex');
INSERT INTO public.accounts VALUES (1, 'acme', 1), (2, 'globex', 2);
INSERT INTO public.entries VALUES (1, 'acme', 1), (2, 'globex', 2), (3, 'acme', 1);
