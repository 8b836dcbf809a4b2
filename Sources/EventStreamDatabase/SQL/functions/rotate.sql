-- ----------------------------------------------------------------------
-- Function: rotate(keep)
--
--      Empties the table of idempotency keys that was emptied longer ago, if the other one was emptied at least as long ago as keys
--      are kept. Called again and again, it empties each of the two every other time. See once() for what that promises.
--
-- Parameters:
--      keep    - for how long a key is to be known at least
--
-- Returns:
--      whether a table was emptied.
--
-- Raises:
--      lock_not_available (55P03) if the table is in use: whoever records with an idempotency key waits behind this function, so it
--      does not wait for longer than 10 ms. Call it again.
--
-- Locks:
--      ACCESS EXCLUSIVE on the table it empties, and the row that tells when the tables were emptied.
--
-- Who may call it:
--      the owner and evt_discarder. It runs with the rights of the owner.
-- ----------------------------------------------------------------------
CREATE OR REPLACE FUNCTION {{rotate}}(keep interval) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10ms' AS $$
DECLARE
    first_is_next boolean;
BEGIN
    IF keep IS NULL OR keep < '0' THEN
        RAISE EXCEPTION 'invalid time to keep idempotency keys: %', keep USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- A dump without rows lacks it.
    INSERT INTO {{rotation}} DEFAULT VALUES ON CONFLICT DO NOTHING;
    -- One at a time: who has waited looks again.
    SELECT a_emptied <= b_emptied INTO first_is_next FROM {{rotation}}
        WHERE GREATEST(a_emptied, b_emptied) <= clock_timestamp() - keep FOR UPDATE;
    -- Noted after the lock was had: later than anything the table has lost.
    IF first_is_next THEN
        TRUNCATE {{keys_a}};
        UPDATE {{rotation}} SET a_emptied = clock_timestamp();
    ELSIF NOT first_is_next THEN
        TRUNCATE {{keys_b}};
        UPDATE {{rotation}} SET b_emptied = clock_timestamp();
    END IF;
    RETURN first_is_next IS NOT NULL;
END $$;
