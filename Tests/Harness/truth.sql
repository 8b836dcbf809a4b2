-- Every event that was ever committed: the row is written with it, and stays.
CREATE TABLE truth (id bigint PRIMARY KEY, type text, data json, ts timestamp);
CREATE FUNCTION note_truth() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO public.truth VALUES (NEW.id, NEW.type, NEW.data, NEW.ts);
    RETURN NULL;
END $$;
CREATE TRIGGER note_truth AFTER INSERT ON evt_queue FOR EACH ROW EXECUTE FUNCTION note_truth();
