-- An event may have a key, which says what it is about, and meta, which says how it came about. Recording may be repeated without
-- recording twice.

-- ----------------------------------------------------------------------
-- Key and meta
-- ----------------------------------------------------------------------

{{functions/check_event.sql}}
-- Conditions of a table are read anew by each statement; those of a domain are kept ready.
CREATE DOMAIN {{key}} AS text CHECK ({{check_key}}(VALUE));
COMMENT ON DOMAIN {{key}} IS 'The key of an event: 1 to 128 bytes';
CREATE DOMAIN {{meta}} AS json CHECK ({{check_meta}}(VALUE));
COMMENT ON DOMAIN {{meta}} IS 'The meta of an event: a JSON object of at most 4096 bytes';
ALTER TABLE {{events}} ADD COLUMN key {{key}}, ADD COLUMN meta {{meta}};
-- After SET LOCAL has ended, the setting is an empty text. A table that has events already would keep what it is at this moment.
ALTER TABLE {{events}} ALTER COLUMN meta SET DEFAULT NULLIF(current_setting('eventstream.meta', true), '')::json;
COMMENT ON COLUMN {{events}}.key IS 'What the event is about; NULL if it has no key';
COMMENT ON COLUMN {{events}}.meta IS 'A JSON object that tells how the event came about; NULL for none';

ALTER TABLE {{parked}} ADD COLUMN key text, ADD COLUMN meta json;

-- Who may insert an event may give it these.
DO $$
DECLARE
    right_held record;
BEGIN
    FOR right_held IN
        SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee, a.is_grantable
        FROM pg_attribute c, aclexplode(c.attacl) a
        WHERE c.attrelid = to_regclass({{'events}}) AND c.attname = 'data' AND a.privilege_type = 'INSERT'
    LOOP
        EXECUTE format('GRANT INSERT (key, meta) ON %s TO %s', {{'events}}, right_held.grantee)
            || CASE WHEN right_held.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END;
    END LOOP;
END $$;

-- ----------------------------------------------------------------------
-- Idempotency keys
-- ----------------------------------------------------------------------

-- The id is noted in the transaction that inserts the row: there is room for that.
CREATE TABLE {{keys_a}} (
    idempotency_key text PRIMARY KEY CHECK (octet_length(idempotency_key) BETWEEN 1 AND 200),
    id bigint,
    content bytea NOT NULL
) WITH (fillfactor = 80);
COMMENT ON TABLE {{keys_a}} IS 'Idempotency keys and the events they were used for; each is in this table or in the other one, until its time has passed';
COMMENT ON COLUMN {{keys_a}}.content IS 'A hash of type, data, key and meta';
CREATE TABLE {{keys_b}} (
    idempotency_key text PRIMARY KEY CHECK (octet_length(idempotency_key) BETWEEN 1 AND 200),
    id bigint,
    content bytea NOT NULL
) WITH (fillfactor = 80);
COMMENT ON TABLE {{keys_b}} IS 'Idempotency keys and the events they were used for; each is in this table or in the other one, until its time has passed';
COMMENT ON COLUMN {{keys_b}}.content IS 'A hash of type, data, key and meta';

CREATE TABLE {{rotation}} (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    a_emptied timestamptz NOT NULL DEFAULT clock_timestamp(),
    b_emptied timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE {{rotation}} IS 'When the two tables of idempotency keys were emptied';
INSERT INTO {{rotation}} DEFAULT VALUES;

-- ----------------------------------------------------------------------
-- Functions
-- ----------------------------------------------------------------------

{{functions/once.sql}}
{{functions/record.sql}}
{{functions/add_all.sql}}
{{functions/rotate.sql}}
{{functions/evt_add_keyed.sql}}
DO $$
DECLARE
    owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass({{'events}}));
    item text;
    found_function record;
    right_held record;
BEGIN
    FOREACH item IN ARRAY ARRAY[{{'keys_a}}, {{'keys_b}}, {{'rotation}}] LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO %I', item, owner);
    END LOOP;
    FOREACH item IN ARRAY ARRAY[{{'key}}, {{'meta}}] LOOP
        EXECUTE format('ALTER DOMAIN %s OWNER TO %I', item, owner);
    END LOOP;
    FOR found_function IN
        SELECT p.oid::regprocedure AS name, pg_get_userbyid(p.proowner) AS owner, p.oid = ANY (open) AS is_open
        FROM pg_proc p, (SELECT ARRAY[
            to_regprocedure({{'add}} || '(text, json, text, json, text)'), to_regprocedure({{'add}} || '(text, text, text, json, text)'),
            to_regprocedure({{'add}} || '(text, jsonb, text, json, text)')]::oid[] AS adding, ARRAY[
            to_regprocedure({{'check_key}} || '(text)'), to_regprocedure({{'check_meta}} || '(json)')]::oid[] AS open) ours
        WHERE p.oid = ANY (adding || open || ARRAY[
            to_regprocedure({{'once}} || '(text, json, text, json, text)'), to_regprocedure({{'record}} || '(text, json, text, json, text)'),
            to_regprocedure({{'add_all}} || '(text[], text[], text[], text[], text[])'), to_regprocedure({{'rotate}} || '(interval)')]::oid[])
    LOOP
        -- A function of that name that was there before keeps its owner, who could change what it does.
        IF found_function.owner <> current_user THEN
            RAISE EXCEPTION 'the function % is already there and belongs to the role %', found_function.name, found_function.owner
                USING HINT = 'drop the function, then migrate again';
        END IF;
        EXECUTE format('%s ON FUNCTION %s %s PUBLIC', CASE WHEN found_function.is_open THEN 'GRANT EXECUTE' ELSE 'REVOKE ALL' END,
            found_function.name, CASE WHEN found_function.is_open THEN 'TO' ELSE 'FROM' END);
        EXECUTE format('ALTER FUNCTION %s OWNER TO %I', found_function.name, owner);
    END LOOP;
    -- With the one of two parameters beside it, a call would be ambiguous.
    FOR right_held IN
        SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee, a.is_grantable
        FROM pg_proc p, aclexplode(p.proacl) a
        WHERE p.oid = to_regprocedure({{'add}} || '(text, json)') AND a.privilege_type = 'EXECUTE' AND a.grantee <> p.proowner
    LOOP
        FOREACH item IN ARRAY ARRAY['json', 'text', 'jsonb'] LOOP
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s(text, %s, text, json, text) TO %s', {{'add}}, item, right_held.grantee)
                || CASE WHEN right_held.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END;
        END LOOP;
    END LOOP;
END $$;
DROP FUNCTION {{add}}(text, json);
