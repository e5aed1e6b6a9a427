CREATE FUNCTION public.warn_of_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN RAISE WARNING 'somebody did %', tg_tag; END $$;
CREATE EVENT TRIGGER warn_of_ddl ON ddl_command_end EXECUTE FUNCTION public.warn_of_ddl();
