-- What was done to consumers, and what each session was told, in the order in which it happened.
CREATE TABLE steps (
    step bigserial, ident text, kind text, before bigint, after bigint, discarded bigint, epoch bigint, at timestamptz);
CREATE FUNCTION note_step() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    discarded bigint := (SELECT s.discarded FROM public.evt_queue_state s);
    kind text;
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO public.steps (ident, kind, before, after, discarded, epoch, at)
        VALUES (OLD.ident, 'remove', OLD.last_evt_id, NULL, discarded, OLD.session_epoch, clock_timestamp());
        RETURN NULL;
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO public.steps (ident, kind, before, after, discarded, epoch, at)
        VALUES (NEW.ident, 'register', NULL, NEW.last_evt_id, discarded, NEW.session_epoch, clock_timestamp());
        RETURN NULL;
    ELSIF OLD.ident <> NEW.ident THEN
        kind := 'rename';
    ELSIF OLD.session_epoch <> NEW.session_epoch THEN
        kind := CASE WHEN NEW.session_owner IS NULL THEN 'set' ELSE 'claim' END;
    ELSIF OLD.last_evt_id <> NEW.last_evt_id THEN
        kind := 'move';
    ELSE
        RETURN NULL;
    END IF;
    INSERT INTO public.steps (ident, kind, before, after, discarded, epoch, at)
    VALUES (NEW.ident, kind, OLD.last_evt_id, NEW.last_evt_id, discarded, NEW.session_epoch, clock_timestamp());
    RETURN NULL;
END $$;
CREATE TRIGGER note_step AFTER INSERT OR UPDATE OR DELETE ON evt_consumers FOR EACH ROW EXECUTE FUNCTION note_step();
