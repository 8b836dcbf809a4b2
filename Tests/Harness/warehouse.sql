-- What happens to the archive's position.
CREATE TABLE moves (before bigint, after bigint, is_new_generation boolean);
CREATE FUNCTION note_move() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO public.moves VALUES (OLD.last_evt_id, NEW.last_evt_id, OLD.generation <> NEW.generation);
    RETURN NULL;
END $$;
CREATE TRIGGER note_move AFTER UPDATE ON evt_history_positions FOR EACH ROW EXECUTE FUNCTION note_move();
