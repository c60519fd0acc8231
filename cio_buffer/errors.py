"""What can go wrong, sorted by whose fault it is: that decides what happens next."""

from collections.abc import Mapping

import msgspec


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with an operation, in the words of Customer.io's v2 API.

    `reason` is "required" or "invalid"; `field` is a path such as `identifiers.id`, "" for the whole.
    """

    reason: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class Refused(Exception):
    """The caller's fault, or a limit's: this request is not done, and is answered `status`.

    `closes`: the connection cannot go on after it, for instance because a body's end is unknown.
    """

    def __init__(
        self, status: int, problem: Problem, *, headers: Mapping[str, str] | None = None, closes: bool = False
    ) -> None:
        super().__init__(str(problem))
        self.status, self.problem, self.headers, self.closes = status, problem, headers, closes


class InvalidOperation(Exception):
    """The app's fault: this operation can never be delivered."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class TooLarge(InvalidOperation):
    """The app's fault: Customer.io has no door that is wide enough."""


class OutboxFull(Exception):
    """Ours: there is no room. Nothing was stored; the app may ask again in `retry_after_s` seconds."""

    def __init__(self, detail: str, *, retry_after_s: int) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class OutboxUnavailable(Exception):
    """Ours: the store could not promise to keep it. It may still turn up (at-least-once)."""


class UnknownReceipt(Exception):
    """The operator's: no entry of this store has such a receipt."""


class LeaseLost(Exception):
    """Nobody's: somebody else has the right to drain now. What was claimed is theirs."""


class UnknownGroup(Exception):
    """The operator's: the config names a group that this machine does not have."""


class UnknownUser(Exception):
    """The operator's: the config names a user that this machine does not have."""


class UnusableCertificate(Exception):
    """The operator's: TLS cannot be spoken with the certificate and key that the config names."""


class StoreHeld(Exception):
    """Another process has the store open."""


class StoreUnusable(Exception):
    """The store cannot be written, or the file is not ours to write."""
