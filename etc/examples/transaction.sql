-- An event recorded in the transaction it tells of: committed together, or not at all.
--
--   psql "$EVT_DATABASE_URL" -f transaction.sql
CREATE TABLE IF NOT EXISTS example_orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, amount numeric NOT NULL);

BEGIN;
INSERT INTO example_orders (amount) VALUES (42.50) RETURNING id \gset
SELECT evt_add('ORDER_NEW', json_build_object('order', :id, 'amount', 42.50)) AS event_id;
COMMIT;

-- Rolled back: nobody will ever hear of it.
BEGIN;
SELECT evt_add('ORDER_NEW', '{"order": 0}');
ROLLBACK;
