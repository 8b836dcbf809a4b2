import EventStream
import LibPQ

/// What has been committed by now: the head, and beyond a gap what is there already.
struct StreamPresent {
    let head: HeadDriver
    let membership: Membership

    func find(_ completion: @escaping (Result<(after: EventID, known: EventIDSet), EventStreamError>) -> Void) {
        head.whenFresh { isFresh in
            guard isFresh else { return completion(.failure(.unavailable)) }
            let settled = self.head.settled ?? .none
            guard self.head.gap != nil else { return completion(.success((settled, EventIDSet()))) }
            // Beyond a gap that somebody may still fill there are events that were committed before the call, too.
            guard let reader = self.membership.catchUp else { return completion(.failure(.unavailable)) }
            reader.visible(after: settled) { result in
                completion(
                    result.map { (settled, $0) }.mapError {
                        .internalError("what has been committed could not be read: \($0.message)")
                    })
            }
        }
    }
}
