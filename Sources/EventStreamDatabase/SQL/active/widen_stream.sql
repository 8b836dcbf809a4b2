-- Lets the stream take event types of 1 to 64 of A-Z, a-z, 0-9, '_', '.', ':', '/' and '-'. For good: events that are recorded then
-- may have such a type.
--
-- No row is written anew. What waits for the table waits until the constraint has been checked for the rows there are.

DO $$
DECLARE
    old record;
BEGIN
    IF (SELECT wide_types FROM {{state}}) THEN
        RETURN;
    END IF;
    ALTER TABLE {{events}} ALTER COLUMN type TYPE varchar(64);
    FOR old IN
        SELECT conname FROM pg_constraint c WHERE c.conrelid = to_regclass({{'events}}) AND c.contype = 'c'
            AND (pg_get_constraintdef(c.oid) LIKE '%^[A-Z\_]+$%' OR pg_get_constraintdef(c.oid) LIKE '%^[A-Za-z0-9\_.:/-]+$%')
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', {{'events}}, old.conname);
    END LOOP;
    ALTER TABLE {{events}} ADD CHECK (type ~ '^[A-Za-z0-9_.:/-]+$');
EXCEPTION WHEN feature_not_supported THEN
    RAISE EXCEPTION 'the column type of % cannot be widened: %', {{'events}}, SQLERRM
        USING HINT = 'drop what uses the column (a view, a rule, a trigger), migrate, and make it again';
END $$;

{{functions/check_type_wide.sql}}

UPDATE {{state}} SET wide_types = true;
