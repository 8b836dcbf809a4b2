-- ----------------------------------------------------------------------
-- Function: add_all(types, data, keys, metas, idempotency_keys)
--
--      Records events in the order given, some of them with an idempotency key. For the generator, which has checked the calls: one
--      call whose idempotency key was used for another event does not fail the others.
--
-- Parameters:
--      arrays of one length; an empty text stands for no key, meta or idempotency key.
--
-- Returns:
--      for each event its id, and whether its idempotency key was used for another event: then there is no id. NULL and false for one
--      that a trigger has dropped.
--
-- Raises:
--      what evt_add() does; lock_not_available (55P03) if another transaction that has used one of the keys does not end within a
--      second: all that the generator records waits meanwhile.
--
-- Locks:
--      as evt_add().
--
-- Who may call it:
--      the owner and evt_generator. It runs with the rights of the owner.
-- ----------------------------------------------------------------------
CREATE OR REPLACE FUNCTION {{add_all}}(types text[], data text[], keys text[], metas text[], idempotency_keys text[])
RETURNS TABLE (id bigint, is_conflict boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    draft record;
BEGIN
    FOR draft IN SELECT d.type, d.data::json AS data, NULLIF(d.key, '') AS key, NULLIF(d.meta, '')::json AS meta, d.once
        FROM unnest($1, $2, $3, $4, $5) AS d (type, data, key, meta, once)
    LOOP
        IF draft.once = '' THEN
            is_conflict := false;
            INSERT INTO {{events}} AS e (type, data, key, meta) VALUES (draft.type, draft.data, draft.key, draft.meta)
                RETURNING e.id INTO id;
        ELSE
            id := {{once}}(draft.type, draft.data, draft.key, draft.meta, draft.once);
            is_conflict := id IS NULL;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;
