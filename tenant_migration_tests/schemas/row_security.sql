-- Row security: forced with a policy, forced without one, only enabled; a child of a forced parent.
CREATE TABLE public.forced (id int PRIMARY KEY, tenant_id text NOT NULL);
CREATE TABLE public.forced_without_policy (id int PRIMARY KEY, tenant_id text NOT NULL);
CREATE TABLE public.enabled (id int PRIMARY KEY, tenant_id text NOT NULL);
CREATE TABLE public.child_of_forced (id int PRIMARY KEY, tenant_id text NOT NULL, forced_id int REFERENCES public.forced);
INSERT INTO public.forced VALUES (1, 'acme'), (2, 'globex');
INSERT INTO public.forced_without_policy VALUES (1, 'acme'), (2, 'globex');
INSERT INTO public.enabled VALUES (1, 'acme'), (2, 'globex');
INSERT INTO public.child_of_forced VALUES (1, 'acme', 1), (2, 'globex', 2);
CREATE POLICY own_rows ON public.forced USING (tenant_id = current_setting('app.tenant_id', true));
CREATE POLICY own_rows ON public.enabled USING (tenant_id = current_setting('app.tenant_id', true));
ALTER TABLE public.forced ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE public.forced_without_policy ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE public.enabled ENABLE ROW LEVEL SECURITY;
