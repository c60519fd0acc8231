"""What can go wrong, sorted by whose fault it is: that decides what happens next."""

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


class LeaseLost(Exception):
    """Nobody's: somebody else has the right to drain now. What was claimed is theirs."""


class UnknownGroup(Exception):
    """The operator's: the config names a group that this machine does not have."""


class StoreHeld(Exception):
    """Another process has the store open."""


class StoreUnusable(Exception):
    """The store cannot be written, or the file is not ours to write."""
