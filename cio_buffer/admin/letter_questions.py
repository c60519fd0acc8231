"""What operators may ask about dead letters: what commands write, and the admin socket reads."""

from msgspec import UNSET, Raw, Struct, UnsetType


class Filters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which letters are meant; what is None filters nothing.

    `person`: KIND:VALUE. `since`: they died then or later; a time (UTC, if it does not say) or an age such as 2h.
    """

    reason: str | None = None
    kind: str | None = None
    person: str | None = None
    since: str | None = None

    @property
    def is_narrow(self) -> bool:
        return any(given is not None for given in (self.reason, self.kind, self.person, self.since))


class ChangeQuestion(Filters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be replayed or purged: `receipts`, or what the filters let through, or `all` there is.

    `limit`: so many of them, the oldest. `dry_run`: only say what would be done.
    """

    receipts: list[str] | None = None
    all: bool = False
    limit: int | None = None
    dry_run: bool = False


class ReplayQuestion(ChangeQuestion, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`after_newer`: also what newer operations have overtaken."""

    after_newer: bool = False


class EditQuestion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The letter's new body: as JSON, or in base64 whatever it is. `replay`: and send it again."""

    receipt: str
    body: Raw | UnsetType = UNSET
    body_base64: str | UnsetType = UNSET
    replay: bool = False
    after_newer: bool = False
