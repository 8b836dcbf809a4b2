import Testing

/// What goes wrong around the processes: one fault at a time, so that none is blamed for another.
@Suite(.serialized) struct FaultTests {}
