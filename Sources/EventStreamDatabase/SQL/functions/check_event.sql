-- ----------------------------------------------------------------------
-- Functions: check_key(key) and check_meta(meta), conditions of the domains of an event's key and meta
--
--      Refuse what an event's key or meta must not be, in words, whoever inserts the event.
--
-- Returns:
--      true.
--
-- Raises:
--      check_violation (23514).
--
-- Cost:
--      for an event without key and meta they are not called: both are STRICT. An INSERT of such an event takes 2 % more for the two
--      columns, 2 % more for the default of meta, and 2 % more for the domains; the same conditions as CHECK constraints of the table
--      would take 37 % more, because each statement reads the text of these anew. No SET search_path, which would cost as much as
--      the rest; so all names are qualified.
--
-- Who may call it:
--      everybody, because the domain calls it as whoever inserts.
-- ----------------------------------------------------------------------
CREATE OR REPLACE FUNCTION {{check_key}}(key text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF pg_catalog.octet_length($1) OPERATOR(pg_catalog.>) 128 OR $1 OPERATOR(pg_catalog.=) '' THEN
        RAISE EXCEPTION 'invalid event key: % bytes, and the limit is 128 bytes', pg_catalog.octet_length($1)
            USING ERRCODE = 'check_violation', HINT = 'a key is 1 to 128 bytes; an event without a key has NULL';
    END IF;
    RETURN true;
END $$;

CREATE OR REPLACE FUNCTION {{check_meta}}(meta json) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF pg_catalog.json_typeof($1) OPERATOR(pg_catalog.<>) 'object' THEN
        RAISE EXCEPTION 'invalid event meta: a JSON object is needed, not of the type %', pg_catalog.json_typeof($1)
            USING ERRCODE = 'check_violation',
                HINT = 'meta comes as an argument, as a column, or by the setting eventstream.meta';
    END IF;
    IF pg_catalog.octet_length($1::pg_catalog.text) OPERATOR(pg_catalog.>) 4096 THEN
        RAISE EXCEPTION 'event meta is too large: % bytes, and the limit is 4096 bytes', pg_catalog.octet_length($1::pg_catalog.text)
            USING ERRCODE = 'check_violation', HINT = 'keep what is large in the data';
    END IF;
    RETURN true;
END $$;
