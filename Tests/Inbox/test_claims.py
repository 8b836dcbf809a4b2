"""What the inbox says of events that come for the first time, again, at the same time, in another generation, and after being parked."""

from __future__ import annotations

import json
import threading

import psycopg
import pytest
from psycopg.errors import InvalidParameterValue, ObjectNotInPrerequisiteState, SerializationFailure

from Harness.processes import run
from Harness.waiting import eventually


def origin(generation: str, start: int | None = None, common: int | None = None, after: int | None = None, stream: str = "stream") -> str:
    """As a pusher tells it; the session begins at the end of the common part unless told otherwise."""
    def event(number: int | None) -> str | None:
        return None if number is None else str(number)
    return json.dumps({"stream": stream, "generation": generation, "start": event(start), "common": event(common),
                       "after": event(common if after is None else after)})


FIRST, SECOND, THIRD = origin("first"), origin("second", 1000, 5), origin("third", 2000, 1005)


class Claimer:
    """A connection of a receiver."""

    def __init__(self, conninfo: str, consumer: str = "BILLING"):
        self.connection = psycopg.connect(conninfo, autocommit=True)
        self.consumer = consumer

    def claim(self, ids, of: str = FIRST, fingerprints=None, parked: bool = False) -> list[int]:
        """An event has ten times its id as its fingerprint unless told otherwise."""
        ids = list(ids)
        rows = self.connection.execute("SELECT evt_inbox_claim(%s, %s, %s, %s, %s)", [
            self.consumer, of, ids, fingerprints or [10 * each for each in ids], parked])
        return [row[0] for row in rows]

    def lost(self) -> list[int]:
        return [row[0] for row in self.connection.execute("SELECT id FROM evt_inbox_lost(%s)", [self.consumer])]

    def value(self, sql: str):
        return self.connection.execute(sql).fetchone()[0]

    def close(self) -> None:
        self.connection.close()


@pytest.fixture(scope="module")
def database(cluster, binaries):
    database = cluster.create_database()
    run(binaries / "evt", "inbox", settings={"EVT_INBOX_URL": database.conninfo})
    yield database
    database.drop()


@pytest.fixture
def connect(database):
    """Connects one more receiver of the test's consumer."""
    made: list[Claimer] = []

    def connect(consumer: str = "BILLING") -> Claimer:
        made.append(Claimer(database.conninfo, consumer))
        return made[-1]
    yield connect
    for each in made:
        each.close()
    database.value("WITH a AS (DELETE FROM evt_inbox), b AS (DELETE FROM evt_inbox_events) SELECT 1")


@pytest.fixture
def inbox(connect) -> Claimer:
    return connect()


# Within a generation


def test_events_are_to_be_processed_once(inbox):
    assert inbox.claim([1, 2, 3]) == [1, 2, 3]
    assert inbox.claim([1, 2, 3]) == []
    assert inbox.claim([2, 3, 5, 8]) == [5, 8]
    assert inbox.claim([]) == []
    assert inbox.value("SELECT newest FROM evt_inbox") == 8


def test_what_is_rolled_back_was_not_processed(inbox):
    with pytest.raises(ZeroDivisionError), inbox.connection.transaction():
        assert inbox.claim([1, 2]) == [1, 2]
        raise ZeroDivisionError
    with inbox.connection.transaction():
        assert inbox.claim([1]) == [1]
    assert inbox.claim([1, 2]) == [2]


def test_each_consumer_and_each_stream_has_its_own(connect):
    one, other = connect("ONE"), connect("OTHER")
    assert one.claim([1]) == [1]
    assert other.claim([1]) == [1]
    assert one.claim([1], of=origin("first", stream="fork")) == [1]


def test_in_a_generation_the_id_counts_even_if_the_fingerprint_is_another(inbox):
    assert inbox.claim([1], fingerprints=[7]) == [1]
    assert inbox.claim([1], fingerprints=[8]) == []


@pytest.mark.parametrize("values", [
    (None, FIRST, [1], [1], False), ("B", "{}", [1], [1], False), ("B", "true", [1], [1], False), ("B", None, [1], [1], False),
    ("B", FIRST, [1, 2], [1], False), ("B", FIRST, [None], [1], False), ("B", FIRST, [1], [None], False), ("B", FIRST, None, None, False),
    ("B", FIRST, [1], [1], None)])
def test_what_makes_no_sense_is_refused(inbox, values):
    with pytest.raises(InvalidParameterValue):
        inbox.connection.execute("SELECT evt_inbox_claim(%s, %s::json, %s::bigint[], %s::bigint[], %s)", values)


# Two receivers at a time


def claim_behind(first: Claimer, second: Claimer, ids) -> list:
    """The second claims while the first's transaction is open; returns what came of it once that is committed."""
    outcome: list = []

    def work() -> None:
        try:
            outcome.append(second.claim(ids))
        except psycopg.Error as error:
            outcome.append(error)

    with first.connection.transaction():
        first.claim(ids)
        thread = threading.Thread(target=work)
        thread.start()
        pid = second.connection.info.backend_pid
        eventually(lambda: first.value(f"SELECT count(*) FROM pg_locks WHERE pid = {pid} AND NOT granted"), "the second waits")
        assert outcome == []
    thread.join()
    return outcome


@pytest.mark.parametrize("before", [[], [1]])
def test_a_second_receiver_waits_and_is_told_that_the_events_are_processed(connect, before):
    first, second = connect(), connect()
    first.claim(before)
    assert claim_behind(first, second, [2, 3]) == [[]]


@pytest.mark.parametrize("before", [[], [1]])
@pytest.mark.parametrize("level", [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE])
def test_a_second_receiver_with_an_old_snapshot_fails(connect, level, before):
    first, second = connect(), connect()
    if before:
        first.claim(before)
    second.connection.isolation_level = level
    with pytest.raises(SerializationFailure), second.connection.transaction():
        second.value("SELECT 1 FROM pg_class LIMIT 1")
        assert first.claim([2, 3]) == [2, 3]
        second.claim([2, 3])
    with second.connection.transaction():
        assert second.claim([2, 3, 4]) == [4]


def test_many_receivers_process_each_event_once(connect):
    claimers, counts = [connect() for _ in range(4)], {}
    lock = threading.Lock()

    def work(claimer: Claimer) -> None:
        for start in range(1, 400, 3):
            for each in claimer.claim(range(start, start + 10)):
                with lock:
                    counts[each] = counts.get(each, 0) + 1

    threads = [threading.Thread(target=work, args=(claimer,)) for claimer in claimers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts) == list(range(1, max(counts) + 1))
    assert set(counts.values()) == {1}


# Generations


def test_what_survives_a_fail_over_comes_again_and_is_not_counted_twice(inbox):
    assert inbox.claim(range(1, 11)) == list(range(1, 11))
    # Up to 5 the confirmation survived; 6 and 7 are there, and come again; from 8 on ids are given to others.
    assert inbox.claim([6, 7, 8], of=SECOND, fingerprints=[60, 70, 81]) == [8]
    assert inbox.claim([6, 7, 8, 9], of=SECOND, fingerprints=[60, 70, 81, 91]) == [9]
    assert inbox.lost() == []
    assert inbox.claim([1001], of=SECOND) == [1001]
    assert inbox.lost() == [8, 9, 10]


@pytest.mark.parametrize("common", [0, 4, 5, 8])
def test_where_the_common_part_ends_does_not_matter(inbox, common):
    inbox.claim([1, 2, 3, 4, 5])
    second = origin("second", 1000, common)
    assert inbox.claim([4, 5, 6], of=second) == [6]
    assert inbox.claim([1001], of=second) == [1001]
    assert inbox.lost() == [each for each in (1, 2, 3) if each > common]


def test_what_was_lost_may_be_back_after_another_fail_over(inbox):
    inbox.claim([1, 2, 3, 4, 5, 6, 7, 8])
    inbox.claim([6, 7, 1001], of=SECOND, fingerprints=[60, 71, 1])
    assert inbox.lost() == [7, 8]
    third = origin("third", 2000, 5)
    assert inbox.claim([6, 7, 8, 9], of=third) == [9]
    assert inbox.claim([2001], of=third) == [2001]
    assert inbox.lost() == [7, 1001]


def test_fail_overs_in_a_row(inbox):
    inbox.claim(range(1, 9))
    inbox.claim([6, 1001, 1002, 1003], of=SECOND)
    # Only a part of the second one is in the third.
    third = origin("third", 2000, 1001)
    assert inbox.claim([1002, 1003], of=third, fingerprints=[10020, 7]) == [1003]
    assert inbox.claim([2001], of=third) == [2001]
    assert inbox.lost() == [7, 8, 1003]


def test_a_generation_that_no_event_was_claimed_in_may_be_left_out(inbox):
    inbox.claim(range(1, 9))
    third = origin("third", 2000, 5)
    assert inbox.claim([6, 7, 8, 2001], of=third, fingerprints=[60, 71, 81, 1]) == [7, 8, 2001]
    assert inbox.lost() == [7, 8]


def test_a_consumer_that_is_behind_discarded_events_gets_what_has_the_id_of_a_lost_one(inbox):
    # What is common is told from the discarded events; in a generation that the receiver has not seen, 7 was given to another.
    inbox.claim(range(1, 9))
    third = origin("third", 2000, common=50, after=5)
    assert inbox.claim([6, 7, 2001], of=third, fingerprints=[60, 71, 1]) == [7, 2001]
    assert inbox.lost() == [7, 8]


def test_a_late_batch_of_a_generation_that_is_over_is_refused(inbox):
    inbox.claim([1, 2, 3])
    inbox.claim([1001], of=SECOND)
    with pytest.raises(ObjectNotInPrerequisiteState, match="generation first of the stream is over"):
        inbox.claim([4])
    with pytest.raises(ObjectNotInPrerequisiteState):
        inbox.claim([4], of=origin("rival", 1000, 5))
    with pytest.raises(ObjectNotInPrerequisiteState):
        inbox.claim([3], parked=True)
    assert inbox.claim([1001, 1002], of=SECOND) == [1002]


def test_what_another_consumer_has_doubted_does_not_matter(connect):
    one, other = connect("ONE"), connect("OTHER")
    one.claim([6])
    other.claim([6])
    assert one.claim([6, 1001], of=SECOND, fingerprints=[1, 2]) == [6, 1001]
    assert other.claim([6, 1001], of=SECOND) == [1001]
    assert (one.lost(), other.lost()) == ([6], [])


# Parked events


def test_a_parked_event_is_processed_once_although_later_ones_were(inbox):
    inbox.claim([1, 3, 4])
    assert inbox.claim([2], parked=True) == [2]
    assert inbox.claim([2], parked=True) == []
    assert inbox.value("SELECT newest FROM evt_inbox") == 4


def test_an_event_that_was_processed_and_parked_nevertheless_is_not_processed_again(inbox):
    # The receiver was killed again and again before it could answer.
    inbox.claim([1, 2])
    assert inbox.claim([2], parked=True) == []


def test_a_parked_event_may_come_in_its_order_after_the_position_was_set_back(inbox):
    inbox.claim([1, 3])
    assert inbox.claim([1, 2, 3]) == [2]
    assert inbox.claim([2], parked=True) == []
    inbox.claim([5])
    assert inbox.claim([4], parked=True) == [4]
    assert inbox.claim([1, 2, 3, 4, 5, 6]) == [6]


def test_a_parked_event_of_an_earlier_generation_is_not_taken_for_one_that_got_its_id(inbox):
    inbox.claim([1, 2, 3, 4, 5, 7, 8])
    # 6 was parked, and its id is given to another event.
    assert inbox.claim([6, 7, 1001], of=SECOND, fingerprints=[61, 71, 1]) == [6, 7, 1001]
    assert inbox.claim([6], of=SECOND, parked=True) == [6]
    assert inbox.claim([6], of=SECOND, parked=True) == []
    assert inbox.claim([6], of=SECOND, fingerprints=[61]) == []
    # 8 was lost in the second generation, but a row of it may have been parked there.
    assert inbox.claim([8], of=SECOND, parked=True) == []


def test_a_parked_event_that_was_processed_does_not_hide_the_one_that_got_its_id(inbox):
    inbox.claim([1, 2, 3, 4, 5, 7])
    assert inbox.claim([6], parked=True) == [6]
    assert inbox.claim([6, 7], of=SECOND, fingerprints=[61, 70]) == [6]
    assert inbox.claim([6], of=SECOND, parked=True) == []


# What is kept


def test_events_are_kept_for_a_while_and_then_known_by_their_ids(inbox):
    inbox.claim(range(1, 101))
    inbox.connection.execute("UPDATE evt_inbox_events SET processed = processed - interval '8 days' WHERE id <= 50")
    for each in range(101, 111):
        assert inbox.claim([each]) == [each]
    kept = inbox.connection.execute("SELECT min(id), count(*) FROM evt_inbox_events").fetchone()
    assert kept == (51, 60)
    assert inbox.value("SELECT floor FROM evt_inbox") == 50
    assert inbox.claim(range(1, 112)) == [111]
    # A parked event that is older than that has failed, since it was parked.
    assert inbox.claim([20], parked=True) == [20]
    # Of a generation that goes back further than what is kept, ids up to the common part only are known.
    second = origin("second", 1000, 30)
    assert inbox.claim(range(25, 60), of=second) == list(range(31, 51))


def test_what_was_lost_is_kept_until_later_events_go(inbox):
    inbox.claim(range(1, 9))
    inbox.claim([6, 1001], of=SECOND)
    inbox.connection.execute("UPDATE evt_inbox_events SET processed = processed - interval '8 days' WHERE id < 1000")
    inbox.claim([1002], of=SECOND)
    assert inbox.lost() == [7, 8]
    inbox.connection.execute("UPDATE evt_inbox_events SET processed = processed - interval '8 days'")
    inbox.claim([1003], of=SECOND)
    assert inbox.lost() == []
    assert inbox.value("SELECT count(*) FROM evt_inbox_events") == 1


# The command


def test_the_command_makes_it_once_and_again(cluster, binaries):
    database = cluster.create_database()
    settings = {"EVT_INBOX_URL": database.conninfo}
    try:
        assert run(binaries / "evt", "inbox", "--url", database.conninfo) == (
            "made the tables evt_inbox and evt_inbox_events and their functions in the schema public\n")
        inbox = Claimer(database.conninfo)
        inbox.claim([1])
        inbox.connection.execute("UPDATE evt_inbox SET keep = '2 days'")
        assert run(binaries / "evt", "inbox", settings=settings) == "the inbox is there already; its functions are up to date\n"
        script = run(binaries / "evt", "inbox", "--print")
        inbox.connection.execute(script)
        assert inbox.claim([1, 2]) == [2]
        assert inbox.value("SELECT keep::text FROM evt_inbox") == "2 days"

        inbox.connection.execute('CREATE SCHEMA "my ""own"""')
        assert 'in the schema my "own"' in run(binaries / "evt", "inbox", "--schema", 'my "own"', settings=settings)
        inbox.connection.execute('SET search_path = "my ""own"""')
        assert inbox.claim([1, 2]) == [1, 2]
        inbox.close()
    finally:
        database.drop()


def test_the_command_says_what_is_wrong(database, binaries):
    settings = {"EVT_INBOX_URL": database.conninfo}
    assert 'schema "nowhere" does not exist' in run(binaries / "evt", "inbox", "--schema", "nowhere", settings=settings, check=False)
    assert "is no name of a schema" in run(binaries / "evt", "inbox", "--schema", "a.b", "--print", check=False)
    assert "EVT_INBOX_URL (or --url) is not set" in run(binaries / "evt", "inbox", check=False)
    secret = run(binaries / "evt", "inbox", "--url", "postgresql://me:hidden@127.0.0.1/x", check=False)
    assert "everyone on this machine can read the password" in secret and "hidden" not in secret


def test_a_receiver_needs_no_more_than_rights_to_the_tables(database, connect, cluster):
    inbox = connect("OWNED")
    cluster.admin.run("CREATE ROLE evt_test_receiver")
    try:
        inbox.connection.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON evt_inbox, evt_inbox_events TO evt_test_receiver")
        inbox.connection.execute("SET ROLE evt_test_receiver")
        assert inbox.claim([1]) == [1]
        assert inbox.claim([1, 1001], of=SECOND) == [1001]
        assert inbox.lost() == []
        inbox.connection.execute("RESET ROLE")
        inbox.connection.execute("DROP OWNED BY evt_test_receiver")
    finally:
        cluster.admin.run("DROP ROLE evt_test_receiver")
