-- ----------------------------------------------------------------------
-- Function: once(type, data, key, meta, idempotency_key)
--
--      Records an event unless an event was recorded with this idempotency key.
--
--      There are two tables of idempotency keys, a and b. Each key is inserted into both, always first into a, then into b, and the
--      index of the table decides whether the key was there: not a snapshot, which would miss the keys of concurrent transactions.
--      INSERT with ON CONFLICT DO NOTHING waits for a concurrent transaction that has inserted the key: if that commits, the key is
--      known; if that is rolled back, the key is free. rotate() empties the tables in turn.
--
-- Why no key is let through twice within the window W:
--      rotate() empties a table only if the other one was emptied at least W ago, and notes the time while it has the table for
--      itself (ACCESS EXCLUSIVE). Every INSERT of this function, also one that finds the key there, locks the table (ROW EXCLUSIVE)
--      to the end of its transaction. So what rotate() removes has been committed or rolled back.
--      Say a transaction T has committed a key at the time t. T had rows in both tables. For both to be gone, both tables must have
--      been emptied since. The one that was emptied first was emptied, and its time was noted, after t: rotate() had to wait for T.
--      The other one was emptied at least W later, so after t + W. Until then each call finds the key in a or in b.
--
--      - T has inserted into a and waits before b while b is emptied: b loses no row of T, since T has none there yet. T's row goes
--        into b afterwards. a is not emptied before T ends.
--      - T waits before a while a is emptied: T has no row yet.
--      - A second call S finds nothing in a, because a was emptied at a time u after t, has inserted there, and then b is emptied
--        before S comes to it: that is at u + W at the earliest, so the window had ended.
--      - S finds nothing in a and the key in b. Its row in a then gets what b says: nobody may find another event there after b is
--        emptied. To extend the time for which a key is known does no harm.
--      - T is open across one rotation or several: the table it has inserted into first is not emptied meanwhile, and the window
--        begins with the commit of T.
--      - In REPEATABLE READ and SERIALIZABLE, ON CONFLICT DO NOTHING fails (40001) for a key that the snapshot does not see. TRUNCATE
--        does not respect snapshots: an old one sees an emptied table, and its call inserts there, as all others do.
--      - A savepoint that is rolled back takes its rows and its locks with it: the key is free.
--      - The clock is the database's. If it is set back, keys are kept for longer; if it is set forward by d, W is shorter by d once.
--
-- Parameters:
--      as of evt_add(), valid, with an idempotency key.
--
-- Returns:
--      the id of the event recorded now, or by the first call; NULL if the first call had another type, data, key or meta. The meta of
--      the setting eventstream.meta does not count: it tells of the transaction, and a repeat is in another one.
--
-- Raises:
--      serialization_failure (40001) as said above; triggered_action_exception (09000) if a trigger of the event table drops the event.
--
-- Locks:
--      ROW EXCLUSIVE on the two tables of keys, and the key in both, to the end of the transaction.
--
-- Who may call it:
--      the owner; record() and add_all() run with the owner's rights.
-- ----------------------------------------------------------------------
CREATE OR REPLACE FUNCTION {{once}}(type text, data json, key text, meta json, idempotency_key text) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    -- With the lengths no two events have the same text.
    hash bytea := sha256(convert_to(concat_ws(' ', $1, COALESCE(octet_length($3), 0), COALESCE(octet_length($4::text), 0), $3, $4, $2),
        'UTF8'));
    in_a tid;
    in_b tid;
    new_id bigint;
    first_id bigint;
    first_hash bytea;
BEGIN
    INSERT INTO {{keys_a}} (idempotency_key, content) VALUES ($5, hash) ON CONFLICT DO NOTHING RETURNING ctid INTO in_a;
    IF in_a IS NULL THEN
        SELECT k.id, k.content INTO first_id, first_hash FROM {{keys_a}} k WHERE k.idempotency_key = $5;
    ELSE
        INSERT INTO {{keys_b}} (idempotency_key, content) VALUES ($5, hash) ON CONFLICT DO NOTHING RETURNING ctid INTO in_b;
        IF in_b IS NOT NULL THEN
            INSERT INTO {{events}} (type, data, key, meta)
                VALUES ($1, $2, $3, COALESCE($4, NULLIF(current_setting('eventstream.meta', true), '')::json))
                RETURNING id INTO new_id;
            IF new_id IS NULL THEN
                RAISE EXCEPTION 'the event was not recorded: a trigger of the event table has dropped it'
                    USING ERRCODE = 'triggered_action_exception';
            END IF;
            UPDATE {{keys_a}} SET id = new_id WHERE ctid = in_a;
            UPDATE {{keys_b}} SET id = new_id WHERE ctid = in_b;
            RETURN new_id;
        END IF;
        SELECT k.id, k.content INTO first_id, first_hash FROM {{keys_b}} k WHERE k.idempotency_key = $5;
        UPDATE {{keys_a}} SET id = first_id, content = first_hash WHERE ctid = in_a;
    END IF;
    IF first_id IS NULL THEN
        RAISE EXCEPTION 'the idempotency key % is being used by a call that has not ended', quote_literal(left($5, 40))
            USING ERRCODE = 'triggered_action_exception',
                HINT = 'a trigger of the event table must not record an event with the same idempotency key';
    END IF;
    RETURN CASE WHEN first_hash = hash THEN first_id END;
END $$;
