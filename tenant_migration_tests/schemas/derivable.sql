-- Tables without the key that belong to a tenant through foreign keys, one and two steps away, nullable and not.
CREATE TABLE public.orders (id int PRIMARY KEY, tenant_id text NOT NULL);
CREATE TABLE public.order_lines (id int PRIMARY KEY, order_id int NOT NULL REFERENCES public.orders);
CREATE TABLE public.line_notes (id int PRIMARY KEY, line_id int REFERENCES public.order_lines);
CREATE TABLE public.countries (code text PRIMARY KEY);
INSERT INTO public.orders VALUES (1, 'acme'), (2, 'globex');
INSERT INTO public.order_lines VALUES (1, 1), (2, 2);
INSERT INTO public.line_notes VALUES (1, 1), (2, NULL);
