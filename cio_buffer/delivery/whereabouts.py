"""Where an entry is that the drain has in hand."""

from typing import Literal

from msgspec import Struct


class Whereabouts(Struct, frozen=True, kw_only=True):
    """Waiting for others of its lanes, ready to leave, in flight, or parking: on its way aside.

    `request`: the number of the request that it is in, `since_ms`: when that was sent, Unix milliseconds; None for
    what is in none.
    """

    state: Literal["waiting", "ready", "in_flight", "parking"]
    request: int | None = None
    since_ms: int | None = None
