"""What `/quarantine` is asked, and what it answers. Apart from the routes, because commands use it too."""

from msgspec import Struct

from cio_buffer.admin.status import QuarantinedStatus
from cio_buffer.outbox.contract import SetAside


class Quarantine(Struct, frozen=True, kw_only=True):
    """The damaged stores that are set aside, oldest first."""

    quarantine: list[SetAside]


class Removal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which one is to be deleted, for good."""

    name: str


class Removed(Struct, frozen=True, kw_only=True):
    """It is deleted; `bytes` of the disk are free again."""

    name: str
    bytes: int


def is_salvaged(one: SetAside) -> bool:
    """Whether nothing more comes back of it."""
    return one.state in ("over", "failed")


def quarantined(one: SetAside) -> QuarantinedStatus:
    """As the snapshot shows it."""
    return QuarantinedStatus(
        name=one.name,
        path=one.path,
        bytes=one.bytes,
        state=one.state,
        why=one.why,
        salvaged=one.saved + one.dead_saved,
        saved=one.saved,
        dead_saved=one.dead_saved,
        lost=one.lost,
        dead_lost=one.dead_lost,
    )
