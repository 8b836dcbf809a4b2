-- What happens to positions, generations and events.
CREATE TABLE moves (ident text, before bigint, after bigint, at timestamptz);
CREATE FUNCTION note_move() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO public.moves VALUES (NEW.ident, OLD.last_evt_id, NEW.last_evt_id, clock_timestamp());
    RETURN NULL;
END $$;
CREATE TRIGGER note_move AFTER UPDATE ON evt_consumers FOR EACH ROW
    WHEN (OLD.last_evt_id <> NEW.last_evt_id) EXECUTE FUNCTION note_move();

CREATE TABLE generations (reason text);
CREATE FUNCTION note_generation() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO public.generations VALUES (NEW.generation_reason);
    RETURN NULL;
END $$;
CREATE TRIGGER note_generation AFTER UPDATE ON evt_queue_state FOR EACH ROW
    WHEN (OLD.generation <> NEW.generation) EXECUTE FUNCTION note_generation();

-- A consumer that stands below the discarded events reads from the archive, and holds nothing: what was discarded before a transaction
-- moves that tells whom it must heed.
CREATE TABLE discarded_before (only_row boolean PRIMARY KEY DEFAULT true, transaction xid8, discarded bigint);
INSERT INTO discarded_before DEFAULT VALUES;
CREATE FUNCTION note_discarded() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    UPDATE public.discarded_before SET transaction = pg_current_xact_id(), discarded = OLD.discarded;
    RETURN NEW;
END $$;
CREATE TRIGGER note_discarded BEFORE UPDATE ON evt_queue_state FOR EACH ROW
    WHEN (OLD.discarded <> NEW.discarded) EXECUTE FUNCTION note_discarded();
CREATE FUNCTION confirmed_by_holders() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$
    SELECT min(c.last_evt_id) FROM public.evt_consumers c, public.evt_queue_state s, public.discarded_before b
    WHERE c.last_evt_id >= CASE WHEN b.transaction = pg_current_xact_id() THEN b.discarded ELSE s.discarded END
$$;

CREATE TABLE discards (id bigint, confirmed bigint, emptied boolean);
CREATE FUNCTION note_delete() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO public.discards SELECT OLD.id, public.confirmed_by_holders(), false;
    RETURN NULL;
END $$;
CREATE TRIGGER note_delete AFTER DELETE ON evt_queue FOR EACH ROW EXECUTE FUNCTION note_delete();
CREATE FUNCTION note_truncate() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    newest bigint;
BEGIN
    EXECUTE format('SELECT max(id) FROM %I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME) INTO newest;
    INSERT INTO public.discards SELECT newest, public.confirmed_by_holders(), true WHERE newest IS NOT NULL;
    RETURN NULL;
END $$;
DO $$ BEGIN
    FOR segment IN 0..7 LOOP
        EXECUTE format(
            'CREATE TRIGGER note_truncate BEFORE TRUNCATE ON evt_queue_%s FOR EACH STATEMENT EXECUTE FUNCTION note_truncate()', segment);
    END LOOP;
END $$;
