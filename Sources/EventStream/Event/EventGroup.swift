/// Events chosen for one consumer: stretches of pages, put into JSON when they are sent.
package struct EventGroup: Sendable {
    private var runs: [(page: EventPage, range: Range<Int>)] = []
    private let fields: EventFields
    package private(set) var count = 0
    /// Bytes of the whole as an EventList, at most.
    package private(set) var bytes = 0
    package private(set) var first: EventID?
    /// When the first one was recorded.
    package private(set) var firstTimestamp: EventTimestamp?
    package private(set) var last: EventID?
    /// Everything up to here has been looked at: what is neither in the group nor of ``keyed`` was not wanted.
    package private(set) var through: EventID
    /// The wanted events that were left out because of their key.
    private var keyed: [(page: EventPage, index: Int)] = []
    /// How much of it, and of other slices and known events, lies between the events.
    private var apart = Passed()
    private var elsewhere = Passed()

    /// What a group passes over, within the limits of a group: a group that is sent again is read with it.
    private struct Passed {
        private(set) var count = 0
        private var bytes = 0

        mutating func has(roomFor size: Int, within limits: GroupLimits) -> Bool {
            guard count == 0 || count < limits.events && bytes + size <= limits.bytes else { return false }
            (count, bytes) = (count + 1, bytes + size)
            return true
        }
    }

    /// Appends the group as an EventList.
    package func append(to output: inout [UInt8]) {
        output.append(UInt8(ascii: "["))
        for (page, range) in runs { page.append(range, fields: fields, to: &output) }
        // The comma after the last one.
        if count > 0 { output.removeLast() }
        output.append(UInt8(ascii: "]"))
    }

    /// The first event alone.
    package var firstOnly: EventGroup {
        guard let run = runs.first, count > 1 else { return self }
        let entry = run.page.entries[run.range.lowerBound]
        var group = self
        group.runs = [(run.page, run.range.prefix(1))]
        (group.count, group.last, group.through) = (1, entry.id, entry.id)
        group.bytes = 1 + run.page.size(at: run.range.lowerBound, fields: fields)
        group.keyed.removeAll { $0.page.entries[$0.index].id > entry.id }
        return group
    }

    /// So many wanted events at most lie between those of the group: of other slices, known, or left out because of their key.
    package var passedCount: Int { keyed.count + elsewhere.count }
    package var lastLeftOut: EventID? { keyed.last.map { $0.page.entries[$0.index].id } }
    /// The wanted events up to ``through`` that were left out because of their key.
    package var leftOut: [Event] { keyed.compactMap { $0.page.event(at: $0.index) } }

    /// The ids of its events, in order.
    package var ids: [EventID] { runs.flatMap { run in run.range.map { run.page.entries[$0].id } } }

    /// The group as an EventList.
    package var list: [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(bytes)
        append(to: &output)
        return output
    }
}

extension EventGroup {
    /// Takes the wanted events with ids in (after, through] out of consecutive pages, as far as the limits allow.
    ///
    /// - Parameters:
    ///   - pages: in order, together covering what lies past `after`.
    ///   - slice: only events of this slice, past as many others as the limits allow; nil for all.
    ///   - known: events that are passed over, within the same limits.
    ///   - keys: events with these keys are left out (``leftOut``), within the same limits.
    package init(
        from pages: some Sequence<EventPage>, after: EventID, through end: EventID = EventID(.max), want: EventFilter,
        in slice: EventSlice? = nil, besides known: EventIDSet = EventIDSet(), without keys: EventKeySet = EventKeySet(),
        fields: EventFields,
        limits: GroupLimits
    ) {
        through = after
        self.fields = fields
        // The brackets, less the comma the last event does not have.
        bytes = 1
        for page in pages where page.through > after {
            var index = page.index(after: after)
            while index < page.entries.count {
                let entry = page.entries[index]
                guard entry.id <= end else {
                    through = max(through, end)
                    return
                }
                if want.wants(entry.type) {
                    if known.contains(entry.id) || slice.map({ !page.isIn($0, at: index) }) ?? false {
                        guard elsewhere.has(roomFor: page.size(at: index, fields: .all), within: limits) else { return }
                    } else if page.isOf(keys, at: index) {
                        guard apart.has(roomFor: page.size(at: index, fields: .all), within: limits) else { return }
                        keyed.append((page, index))
                    } else {
                        let size = page.size(at: index, fields: fields)
                        guard count < limits.events, count == 0 || bytes + size <= limits.bytes else { return }
                        add(index, of: page, size: size)
                    }
                }
                through = entry.id
                index += 1
            }
            through = max(through, min(page.through, end))
        }
    }

    @inline(__always)
    private mutating func add(_ index: Int, of page: EventPage, size: Int) {
        bytes += size
        count += 1
        let id = page.entries[index].id
        if first == nil { (first, firstTimestamp) = (id, page.entries[index].timestamp) }
        last = id
        if let run = runs.last, run.page === page, run.range.upperBound == index {
            runs[runs.count - 1].range = run.range.lowerBound..<(index + 1)
        } else {
            runs.append((page, index..<(index + 1)))
        }
    }
}
