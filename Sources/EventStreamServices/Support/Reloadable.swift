/// What reads its files again when told to, without stopping: authorized keys.
public protocol Reloadable {
    /// What cannot be used is told in the log, and leaves everything as it was.
    func reload()
}
