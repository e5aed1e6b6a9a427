-- Foreign keys in circles of two, three and thirteen tables, self references, and a child of each circle.
CREATE TABLE public.tree (id int PRIMARY KEY, tenant_id text, parent_id int REFERENCES public.tree);
CREATE TABLE public.two_a (id int PRIMARY KEY, tenant_id text, other_id int);
CREATE TABLE public.two_b (id int PRIMARY KEY, tenant_id text, other_id int REFERENCES public.two_a);
ALTER TABLE public.two_a ADD FOREIGN KEY (other_id) REFERENCES public.two_b;
CREATE TABLE public.two_child (id int PRIMARY KEY, tenant_id text, two_id int REFERENCES public.two_b);
CREATE TABLE public.three_a (id int PRIMARY KEY, tenant_id text, other_id int);
CREATE TABLE public.three_b (id int PRIMARY KEY, tenant_id text, other_id int REFERENCES public.three_a);
CREATE TABLE public.three_c (id int PRIMARY KEY, tenant_id text, other_id int REFERENCES public.three_b);
ALTER TABLE public.three_a ADD FOREIGN KEY (other_id) REFERENCES public.three_c;
DO $$
BEGIN
    FOR n IN 1..13 LOOP
        EXECUTE format('CREATE TABLE public.ring_%s (id int PRIMARY KEY, tenant_id text, next_id int)', n);
    END LOOP;
    FOR n IN 1..13 LOOP
        EXECUTE format('ALTER TABLE public.ring_%s ADD FOREIGN KEY (next_id) REFERENCES public.ring_%s',
                       n, n % 13 + 1);
        EXECUTE format('INSERT INTO public.ring_%s VALUES (1, ''acme'', NULL), (2, ''globex'', NULL)', n);
    END LOOP;
    FOR n IN 1..13 LOOP
        EXECUTE format('UPDATE public.ring_%s SET next_id = id', n);
    END LOOP;
END $$;
CREATE TABLE public.ring_child (id int PRIMARY KEY, tenant_id text, ring_id int REFERENCES public.ring_7);
INSERT INTO public.tree VALUES (1, 'acme', NULL), (2, 'acme', 1), (3, 'globex', NULL), (4, 'globex', 4);
INSERT INTO public.two_a VALUES (1, 'acme', NULL), (2, 'globex', NULL);
INSERT INTO public.two_b VALUES (1, 'acme', 1), (2, 'globex', 2);
UPDATE public.two_a SET other_id = id;
INSERT INTO public.two_child VALUES (1, 'acme', 1), (2, 'globex', 2);
INSERT INTO public.three_a VALUES (1, 'acme', NULL), (2, 'globex', NULL);
INSERT INTO public.three_b VALUES (1, 'acme', 1), (2, 'globex', 2);
INSERT INTO public.three_c VALUES (1, 'acme', 1), (2, 'globex', 2);
UPDATE public.three_a SET other_id = id;
INSERT INTO public.ring_child VALUES (1, 'acme', 1), (2, 'globex', 2);
