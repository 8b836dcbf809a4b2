-- Lets the warehouse take the events of a stream with wide types. No row is written anew.

DO $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT c.oid::regclass::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE a.attrelid IN (to_regclass({{'history}}), to_regclass({{'lost}}), to_regclass({{'erased}})) AND a.attname = 'type'
            AND a.atttypid = 'varchar'::regtype AND a.atttypmod BETWEEN 0 AND 67
    LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN type TYPE varchar(64)', name);
    END LOOP;
EXCEPTION WHEN feature_not_supported THEN
    RAISE EXCEPTION 'the column type of % cannot be widened: %', name, SQLERRM
        USING HINT = 'drop what uses the column (a view, a rule, a trigger), migrate, and make it again';
END $$;
