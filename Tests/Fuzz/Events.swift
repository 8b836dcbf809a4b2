import ReferenceJSON

@testable import EventStream

/// Events, as receivers and pollers get them, and their parts.
func checkEvents(_ bytes: [UInt8]) {
    checkParts(bytes)
    if let value = try? RawJSON(validating: bytes) { checkResult(value) }
    let call = OnEvents(frame: bytes)
    if let call { checkList(call.events) }
    let message = try? WireMessage(decoding: bytes)
    switch message {
    case .request(let request):
        let slow = try? OnEvents(request)
        require(call == nil || call == slow, "both ways to read a call agree")
        if call == nil, let slow { checkList(slow.events) }
    case .response(let response):
        require(call == nil, "an answer is no call")
        if case .success(let result) = response.outcome { checkResult(result) }
    case nil: require(call == nil, "a call is a message")
    }
}

private func checkParts(_ bytes: [UInt8]) {
    if let id = EventID(wire: bytes) {
        require(id > .none && id.description.utf8.elementsEqual(bytes), "an event id is written as it was read")
    }
    if let type = EventType(wire: bytes) { require(type.utf8 == bytes, "an event type is written as it was read") }
    if let time = EventTimestamp(wire: bytes, fraction: 999_999) {
        require(time.wire == bytes && time.fraction == 999_999, "a time is written as it was read")
    }
    let text = String(decoding: bytes, as: UTF8.self)
    if let component = ConsumerComponent(text) {
        require(component.name.utf8.elementsEqual(bytes), "a component is written as it was read")
    }
    if let consumer = ConsumerIdentity(text) {
        require(ConsumerIdentity(consumer.description) == consumer, "a consumer is written as it was read")
    }
}

/// Everything that is answered to a client.
private func checkResult(_ value: RawJSON) {
    if let events = try? Event.list(decoding: value) { checkList(events) }
    if let event = try? Event(decoding: value) { checkList([event]) }
    if let origin = StreamOrigin(value) {
        require(StreamOrigin(origin.json) == origin, "an origin comes back as it was")
    }
    if let draft = try? Event.draft(decoding: value) {
        require(ReferenceJSON.accepts(draft.data.bytes), "the data of a draft is JSON")
    }
}

private func checkList(_ events: [Event]) {
    require(events.count <= 1000, "a list has at most 1000 events")
    require(zip(events, events.dropFirst()).allSatisfy { $0.id < $1.id }, "ids of a list increase")
    var list = Array("[".utf8)
    var page = EventPageBuilder(after: .none)
    for event in events {
        let json = event.json
        let plain = event.with(only: .microseconds).json.count
        require(plain < event.data.bytes.count + EventPage.overhead, "an event has no more bytes than are reckoned with")
        list += json + [UInt8(ascii: ",")]
        event.append(to: &page)
    }
    if !events.isEmpty { list.removeLast() }
    list.append(UInt8(ascii: "]"))
    guard let json = try? RawJSON(validating: list) else { return require(false, "events are written as JSON") }
    require((try? Event.list(decoding: json)) == events, "events come back as they were, byte for byte")

    let limits = GroupLimits(events: 1000, bytes: .max)
    let group = EventGroup(from: [page.build(through: .none)], after: .none, want: .all, fields: .all, limits: limits)
    require(group.count == events.count, "a group has every event")
    require(events.isEmpty || group.list.count <= group.bytes, "a group has no more bytes than it says")
    let frame = OnEvents.encoded(sequence: .max, group: group, rid: .server(.max))
    let call = OnEvents(frame: frame)
    require(call?.events.count == events.count && call?.sequence == .max && call?.rid == .server(.max), "a call comes back")
    for (sent, got) in zip(events, call?.events ?? []) {
        let same =
            got.id == sent.id && got.type == sent.type && got.data == sent.data && got.timestamp == sent.timestamp
            && got.key == sent.key && got.meta == sent.meta
        require(same && got.isPrecise, "an event comes back as it was sent")
    }
}
