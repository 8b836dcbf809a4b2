/// What a user may do (protocol, section 7).
package struct UserRights: Hashable, Sendable {
    package enum Right: String, Sendable, CaseIterable {
        /// `addEvent`.
        case gen
        /// `pollEvents`, of ``ConsumerComponent/live`` too; and registering for it.
        case poll
        /// Being served as a registered consumer; and registering.
        case push
        /// Live sessions and the live broadcast.
        case live

        /// As in `gen, poll, push, live`.
        package static let list = allCases.map(\.rawValue).joined(separator: ", ")
    }

    package var rights: Set<Right>
    /// The components it may be; nil is all. `LIVE` is none of them: the right to it is ``Right/live``.
    package var components: Set<ConsumerComponent>?
    /// The event types it may see and, with ``Right/gen``, record.
    package var types: EventFilter

    package init(_ rights: Set<Right>, components: Set<ConsumerComponent>? = nil, types: EventFilter = .all) {
        self.rights = rights
        self.components = components
        self.types = types
    }

    package static let all = UserRights(Set(Right.allCases))

    package func has(_ right: Right) -> Bool { rights.contains(right) }

    /// The call as it may be carried out: `want` is narrowed to the types the user may see.
    ///
    /// - Throws: `Unauthorized` (FTN3 1.9.1), saying what is missing.
    package func permitted(_ call: Call) throws(EventStreamError) -> Call {
        switch call {
        case .ping: return call
        case .addEvent(let draft):
            try require(.gen)
            guard types.wants(draft.type) else {
                throw .unauthorized("this user may not record events of the type \(draft.type)")
            }
            return call
        case .registerConsumer(let component, _, _), .lag(let component):
            guard has(.poll) || has(.push) else { throw .unauthorized("this user has neither the right poll nor push") }
            try require(component)
            return call
        case .pollEvents(let component, let after, let want, let fields, let generation):
            try require(.poll)
            try require(component)
            return .pollEvents(component, after: after, want: try narrowed(want), fields: fields, generation: generation)
        case .readyToReceive(let component, let want, let fields, let origin, let partial, let park):
            try require(component.isLive ? .live : .push)
            try require(component)
            return .readyToReceive(
                component, want: try narrowed(want), fields: fields, origin: origin, partial: partial, park: park)
        case .stopReceiving(let component), .archive(let component, _, _):
            try require(component.isLive ? .live : .push)
            try require(component)
            return call
        }
    }

    private func require(_ right: Right) throws(EventStreamError) {
        guard has(right) else { throw .unauthorized("this user has not the right \(right.rawValue)") }
    }

    private func require(_ component: ConsumerComponent) throws(EventStreamError) {
        guard component.isLive || components?.contains(component.cut(nil)) ?? true else {
            throw .unauthorized("this user may not be the component \(component)")
        }
    }

    private func narrowed(_ want: EventFilter) throws(EventStreamError) -> EventFilter {
        guard let both = want.intersection(types) else {
            throw .unauthorized("this user may not see any of the event types it wants")
        }
        return both
    }
}
