package import EventStream
import LibPQ

/// One step of a database's schema. Immutable once released: a change is a new step.
package struct Migration: Sendable {
    package let number: Int
    package let name: String
    package let sql: String

    package init(number: Int, name: String, sql: String) {
        (self.number, self.name, self.sql) = (number, name, sql)
    }
}

/// The schema of one database: the steps that make it, in order, and how a database tells which were applied.
///
/// The SQL is below `SQL/`: a file a step, a file a function. A step that changes a function includes its file again.
package struct Schema: Sendable {
    package var steps: [Migration]
    /// Where applied steps are recorded.
    let record: TableName
    /// A table that nobody but these steps makes.
    let marker: TableName
    /// What makes the rows that must be there, besides those of the record; nil if there are none.
    let completion: String?
    /// Lets the database take wide event types, where somebody wants this. Run again, it changes nothing.
    package let widening: String

    fileprivate init(
        _ template: SQLTemplate, steps: KeyValuePairs<String, [UInt8]>, record: TableName, marker: TableName,
        completion: String? = nil, widening: [UInt8]
    ) {
        self.steps = steps.enumerated().map { index, step in
            Migration(number: index + 1, name: step.key, sql: template.sql(step.value))
        }
        (self.record, self.marker, self.completion) = (record, marker, completion)
        self.widening = template.sql(widening)
    }
}

extension StreamTables {
    /// The schema of the active database, for tables whose schema is known.
    package var schema: Schema {
        precondition(events.schema != nil && consumers.schema != nil, "qualify the tables first")
        var names = [
            "events": events, "consumers": consumers, "state": state, "pushers": pushers, "archives": archives, "marks": marks,
            "erasures": erasures, "parked": parked, "sequence": sequence, "mark": mark, "add": add,
            "wake": events.with(suffix: "_wake"),
            "check_ids": events.with(suffix: "_check_ids"), "registering": consumers.with(suffix: "_registering"),
            "adopted": events.with(suffix: "_adopted"),
            "adopted_name": TableName(schema: nil, name: events.name + "_adopted"),
            "key": events.with(suffix: "_key"), "meta": events.with(suffix: "_meta"),
            "check_key": events.with(suffix: "_check_key"), "check_meta": events.with(suffix: "_check_meta"),
            "keys_a": keys.a, "keys_b": keys.b, "rotation": rotation, "rotate": rotate, "add_all": addAll,
            "once": events.with(suffix: "_once"), "record": events.with(suffix: "_record"),
            "check_type": events.with(suffix: "_check_type"),
            "consumers_index": consumers.with(suffix: "_last_evt_id"),
        ]
        for index in 0..<StreamTables.segmentCount { names["segment\(index)"] = segment(index) }
        let template = SQLTemplate(
            names: names, numbers: ["segment_bits": Int64(StreamTables.segmentBits)],
            functions: [
                "check_ids": PackageResources.check_ids_sql, "wake": PackageResources.wake_sql,
                "registering": PackageResources.registering_sql, "evt_add": PackageResources.evt_add_sql,
                "check_event": PackageResources.check_event_sql, "once": PackageResources.once_sql,
                "record": PackageResources.record_sql, "add_all": PackageResources.add_all_sql,
                "rotate": PackageResources.rotate_sql, "evt_add_keyed": PackageResources.evt_add_keyed_sql,
                "check_type": PackageResources.check_type_sql, "check_type_wide": PackageResources.check_type_wide_sql,
            ])
        // The build makes the first digit of a resource's name an underscore.
        return Schema(
            template,
            steps: [
                "stream": PackageResources._01_stream_sql, "history": PackageResources._02_history_sql,
                "erasures": PackageResources._03_erasures_sql, "parked": PackageResources._04_parked_sql,
                "keys": PackageResources._05_keys_sql, "slices": PackageResources._06_slices_sql,
                "types": PackageResources._07_types_sql,
            ],
            record: migrations, marker: state,
            // Of a dump without rows, the type of the column tells whether the stream was widened.
            completion: """
                INSERT INTO \(state.sql) (wide_types) SELECT atttypmod > 20 FROM pg_attribute
                WHERE attrelid = to_regclass(\(quotedLiteral(events.sql))) AND attname = 'type' ON CONFLICT DO NOTHING
                """,
            widening: PackageResources.widen_stream_sql)
    }
}

extension ArchiveTables {
    /// The schema of the warehouse database, for a table whose schema is known.
    package var schema: Schema {
        precondition(history.schema != nil, "qualify the tables first")
        let template = SQLTemplate(
            names: [
                "history": history, "positions": positions, "sums": sums, "lost": lost, "expired": expired, "erased": erased,
                "partitions": partitions, "default": defaultPartition,
            ],
            functions: [
                "partitions": PackageResources.partitions_sql, "partitions_keyed": PackageResources.partitions_keyed_sql,
            ])
        return Schema(
            template,
            steps: [
                "history": PackageResources._01_history_sql, "complete": PackageResources._02_complete_sql,
                "expired": PackageResources._03_expired_sql, "erased": PackageResources._04_erased_sql,
                "key_and_meta": PackageResources._05_key_and_meta_sql,
            ],
            record: migrations, marker: positions, widening: PackageResources.widen_history_sql)
    }
}
