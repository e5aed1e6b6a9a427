-- One table for each kind of trigger; the table is named after what its trigger does.
CREATE TABLE public.audit (at timestamptz DEFAULT now(), what text);
CREATE TABLE public.outbox (id int GENERATED ALWAYS AS IDENTITY, message text);
CREATE FUNCTION public.label(value text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'tenant ' || value $$;
CREATE FUNCTION public.announce(value text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN INSERT INTO public.outbox (message) VALUES (value); END $$;

CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();  -- "INSERT INTO nothing" in a comment is nothing
    RETURN NEW;
END $$;
CREATE FUNCTION public.write_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.audit (what) VALUES (TG_OP || ' ' || TG_TABLE_NAME);
    RETURN NULL;
END $$;
CREATE FUNCTION public.notify_listeners() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_notify('changes', NEW.id::text); RETURN NULL; END $$;
CREATE FUNCTION public.notify_command() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NOTIFY changes; RETURN NULL; END $$;
CREATE FUNCTION public.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'rows of % are final', TG_TABLE_NAME; END $$;
CREATE FUNCTION public.skip_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF NEW.id = 2 THEN RETURN NULL; END IF; RETURN NEW; END $$;
CREATE FUNCTION public.old_on_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$;
CREATE FUNCTION public.fill_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO public.outbox (message) SELECT 'row ' || id FROM changed; RETURN NULL; END $$;
CREATE FUNCTION public.call_unknown() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM public.announce('row ' || NEW.id); RETURN NEW; END $$;
CREATE FUNCTION public.dynamic() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN EXECUTE 'SELECT 1'; RETURN NEW; END $$;
CREATE FUNCTION public.only_looks() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wanted text := lower(public.label(NEW.tenant_id));
BEGIN
    IF wanted IS NULL OR EXISTS (SELECT 1 FROM public.audit WHERE what = wanted) THEN
        RAISE NOTICE 'UPDATE t SET x is only text here: %', wanted;
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION public.guarded_inside() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('tenant_migration.backfill', true) = 'on' THEN RETURN NEW; END IF;
    NEW.updated_at := now();
    RETURN NEW;
END $$;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'touches', 'audits', 'notifies', 'notifies_by_command', 'raises', 'skips', 'old_on_delete', 'by_statement',
        'calls_unknown', 'dynamic', 'only_looks', 'guarded', 'guarded_inside', 'other_columns', 'other_column_changes',
        'disabled', 'on_delete', 'on_organization', 'quiet'
    ] LOOP
        EXECUTE format('CREATE TABLE public.%I (id int PRIMARY KEY, tenant_id text, title text,
                                                updated_at timestamptz DEFAULT ''2020-01-01'')', name);
        EXECUTE format('INSERT INTO public.%I VALUES (1, ''acme'', ''a''), (2, ''globex'', ''b'')', name);
    END LOOP;
END $$;
ALTER TABLE public.on_organization ADD COLUMN organization_id uuid;
CREATE TRIGGER touch BEFORE UPDATE ON public.touches FOR EACH ROW EXECUTE FUNCTION public.touch();
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON public.audits FOR EACH ROW EXECUTE FUNCTION public.write_audit();
CREATE TRIGGER notify AFTER UPDATE ON public.notifies FOR EACH ROW EXECUTE FUNCTION public.notify_listeners();
CREATE TRIGGER notify AFTER UPDATE ON public.notifies_by_command
    FOR EACH ROW EXECUTE FUNCTION public.notify_command();
CREATE TRIGGER final BEFORE UPDATE OR DELETE ON public.raises FOR EACH ROW EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER skip BEFORE UPDATE ON public.skips FOR EACH ROW EXECUTE FUNCTION public.skip_change();
CREATE TRIGGER either BEFORE UPDATE OR DELETE ON public.old_on_delete
    FOR EACH ROW EXECUTE FUNCTION public.old_on_delete();
CREATE TRIGGER outbox AFTER UPDATE ON public.by_statement REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION public.fill_outbox();
CREATE TRIGGER call BEFORE UPDATE ON public.calls_unknown FOR EACH ROW EXECUTE FUNCTION public.call_unknown();
CREATE TRIGGER dynamic BEFORE UPDATE ON public.dynamic FOR EACH ROW EXECUTE FUNCTION public.dynamic();
CREATE TRIGGER look BEFORE UPDATE ON public.only_looks FOR EACH ROW EXECUTE FUNCTION public.only_looks();
CREATE TRIGGER touch BEFORE UPDATE ON public.guarded FOR EACH ROW
    WHEN (current_setting('tenant_migration.backfill', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION public.touch();
CREATE TRIGGER touch BEFORE UPDATE ON public.guarded_inside FOR EACH ROW EXECUTE FUNCTION public.guarded_inside();
CREATE TRIGGER touch BEFORE UPDATE OF title, tenant_id ON public.other_columns
    FOR EACH ROW EXECUTE FUNCTION public.touch();
CREATE TRIGGER audit AFTER UPDATE ON public.other_column_changes FOR EACH ROW
    WHEN (OLD.title IS DISTINCT FROM NEW.title OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id)
    EXECUTE FUNCTION public.write_audit();
CREATE TRIGGER touch BEFORE UPDATE ON public.disabled FOR EACH ROW EXECUTE FUNCTION public.touch();
ALTER TABLE public.disabled DISABLE TRIGGER touch;
CREATE TRIGGER audit AFTER DELETE ON public.on_delete FOR EACH ROW EXECUTE FUNCTION public.write_audit();
CREATE TRIGGER audit AFTER UPDATE OF organization_id ON public.on_organization
    FOR EACH ROW EXECUTE FUNCTION public.write_audit();
