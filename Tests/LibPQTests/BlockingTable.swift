import LibPQ
import TestSupport
import Testing

/// A table whose first row waits for advisory lock 1: a server that takes COPY data slowly.
enum BlockingTable {
    static let sql = """
        CREATE TABLE slow (line text);
        CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END $$;
        CREATE TRIGGER wait BEFORE INSERT ON slow FOR EACH ROW EXECUTE FUNCTION wait();
        """
    static let copy = "COPY slow FROM STDIN"
    /// More than the sockets' buffers hold.
    static let pieces = 1000

    /// Counts what it has been asked for, and is read by tests on the same loop.
    final class Source {
        private(set) var given = 0
        private let line = [UInt8](repeating: UInt8(ascii: "x"), count: 65_535) + [UInt8(ascii: "\n")]

        var source: CopySource {
            CopySource { [self] in
                guard given < pieces else { return nil }
                given += 1
                return line
            }
        }
    }

    /// Waits until the server waits for the lock in the middle of the COPY.
    static func waitUntilBlocked(url: String) async throws {
        try await eventually("the server waits inside COPY") {
            try await TestDatabase.number(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    + " AND query LIKE 'COPY slow%' AND wait_event_type = 'Lock'", on: url) == 1
        }
    }
}
