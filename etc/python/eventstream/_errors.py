"""The one error of the package."""

from __future__ import annotations

RETRIABLE = frozenset({
    "DefenseRejected", "InternalError", "ConsumerBusy", "HistoryUnavailable", "ConsumerPaused", "CommError", "Timeout"})


class EventStreamError(Exception):
    """A call was answered with an error, or not answered.

    Attributes:
        code: The name of the error: one of the wire's (``InvalidRequest``, ``Unauthorized``, ``ConsumerBusy``, …), or ``CommError``
            and ``Timeout``, which this package makes. All names are in ``etc/docs/errors.md``.
        message: A text for people.
    """

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    @property
    def retriable(self) -> bool:
        """Whether the same call may succeed later without a change."""
        return self.code in RETRIABLE

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code
