-- CHECK constraints that read other tables, exclusion constraints, identity, arrays and ranges.
CREATE TABLE public.limits (tenant_id text PRIMARY KEY, most int NOT NULL);
INSERT INTO public.limits VALUES ('acme', 10), ('globex', 10);
CREATE FUNCTION public.within_limit(tenant text, amount int) RETURNS boolean LANGUAGE sql STABLE
    AS $$ SELECT amount <= most FROM public.limits WHERE tenant_id = tenant $$;
CREATE TABLE public.bookings (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id text NOT NULL,
    amount    int CHECK (amount > 0),
    during    int4range,
    tags      text[],
    extra     json,
    CHECK (public.within_limit(tenant_id, amount)),
    EXCLUDE USING gist (during WITH &&)
);
INSERT INTO public.bookings (tenant_id, amount, during, tags, extra)
VALUES ('acme', 1, '[1,5)', '{a,b}', '{}'), ('globex', 2, '[5,9)', NULL, NULL);
