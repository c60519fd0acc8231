"""The one snapshot that every view shows. Its field names are public: scripts lean on them."""

from typing import Literal

from msgspec import Struct

State = Literal["starting", "ready", "refusing", "stopping"]
Paused = Literal["operator", "credentials", "outage"]
Breaker = Literal["closed", "open", "probing", "ramping"]
Salvaging = Literal["waiting", "salvaging", "over", "failed"]


class LedgerStatus(Struct, frozen=True, kw_only=True):
    """Operations since the store was made, across restarts.

    accepted + replayed + salvaged = delivered + dead_lettered + purged + pending + held + in_flight; `balanced` says
    whether a real count, made in the background, agrees with the running totals. `salvaged`: taken over from stores
    that were damaged; a store that takes the place of one begins at 0.
    """

    accepted: int
    replayed: int
    delivered: int
    dead_lettered: int
    purged: int
    pending: int
    held: int
    in_flight: int
    balanced: bool
    salvaged: int = 0


class QuarantinedStatus(Struct, frozen=True, kw_only=True):
    """A damaged store that was set aside, at `path`, and is kept until a person removes it by its `name`.

    `salvaged`: operations that are back, `saved` of them waiting and `dead_saved` dead letters; `lost` and `dead_lost`
    are not, null where nobody knows how many there were. `state`: of salvaging; `why`: what was found damaged, or why
    salvaging broke off. What was saved may have been delivered before, and is then sent again under its ids.
    """

    name: str
    path: str
    bytes: int
    state: Salvaging
    why: str
    salvaged: int
    saved: int
    dead_saved: int
    lost: int | None
    dead_lost: int | None


class OutboxStatus(Struct, frozen=True, kw_only=True):
    """`entries`: all that is stored, dead letters too. `oldest_age_s`: of what waits; null if nothing does.

    `is_stale`: the oldest is past 72 hours, and for events so old Customer.io starts no campaigns.
    `accepted_per_s`: operations, over the last minute. If all goes on as now, nothing waits any more in `empty_in_s` (0
    when nothing does, null while it does not get less), and the store is full in `full_in_s` (0 when it is, null while
    it does not grow). Both are net of what comes and goes, and rough. `log_lines` and `log_bytes`: of the delivery log.
    `quarantined`: damaged stores that were set aside, oldest first; while `is_salvaging` one of them is being read, and
    nothing leaves. `errors`: of the disk, since the start, by what the store was doing; `is_checkpoint_failing`: the
    latest checkpoint was one of them.
    """

    entries: int
    bytes: int
    bytes_max: int
    oldest_age_s: float | None
    is_stale: bool
    accepted_per_s: float
    empty_in_s: float | None
    full_in_s: float | None
    order_violations: int
    log_lines: int = 0
    log_bytes: int = 0
    quarantined: list[QuarantinedStatus] = []
    is_salvaging: bool = False
    errors: dict[str, int] = {}
    is_checkpoint_failing: bool = False


class DeadLettersStatus(Struct, frozen=True, kw_only=True):
    """What was given up and is kept: `count` of them, with `bytes` of the `bytes_max` that they may take.

    `purged`: thrown away by a person, `evicted` by their quota, since the store was made; `evicted_lately`: in the last
    24 hours, as far as this daemon has seen them. `by_reason` is looked up in the background, some seconds old at most
    while the store is not busy.
    """

    count: int = 0
    bytes: int = 0
    bytes_max: int = 0
    purged: int = 0
    evicted: int = 0
    evicted_lately: int = 0
    by_reason: dict[str, int] = {}


class LaneStatus(Struct, frozen=True, kw_only=True):
    """A lane that much of what waits touches: so many `entries`, a `share` of all (1 is all of them).

    `lane` is the same each time and leads nobody to a name; `name`, such as "id:5", is null unless `show_payloads` is
    on and it was found. `is_estimate`: by a sample. As old as `by_reason` is.
    """

    lane: str
    name: str | None
    entries: int
    share: float
    is_estimate: bool


class DrainStatus(Struct, frozen=True, kw_only=True):
    """`in_flight` counts requests here. `paused`: why nothing leaves, null while it does.

    `breaker`: closed while all is well; open while everything is held; probing when a single request tries; ramping
    when the rate comes back slowly. `rate_limit_per_s`: requests that may leave in a second just now. `v1_behind_s`:
    for how long there have been more calls that leave one by one (forms, segments, …) than the rate lets leave.
    """

    state: Literal["running", "paused"]
    paused: Paused | None
    breaker: Breaker
    entries_per_s: float
    rate_limit_per_s: float
    v1_behind_s: float
    in_flight: int
    in_flight_limit: int


class UpstreamStatus(Struct, frozen=True, kw_only=True):
    """`recent`: answers of the last five minutes by status, or by what went wrong on the way.

    `trouble`: what goes wrong just now, in one of the words of `upstream/troubles.py`; null while nothing does. `hint`:
    what that is and what to do. `ambiguous`: operations since the start whose answer was lost after they had been sent;
    they are sent again, under the same ids.
    """

    track_url: str
    recent: dict[str, int]
    trouble: str | None
    hint: str | None
    next_try_in_s: float | None
    ambiguous: int


class PassthroughStatus(Struct, frozen=True, kw_only=True):
    requests: int = 0
    failed: int = 0


class Status(Struct, frozen=True, kw_only=True):
    """How the daemon is. `reasons` says why `state` is not ready, `listening` where apps reach it.

    `lanes`: the busiest, ten at most. What has a default here an older daemon does not say.
    """

    version: str
    state: State
    reasons: list[str]
    uptime_s: float
    mode: Literal["live"]
    listening: list[str]
    ledger: LedgerStatus
    outbox: OutboxStatus
    drain: DrainStatus
    upstream: UpstreamStatus
    passthrough: PassthroughStatus
    dead_letters: DeadLettersStatus = DeadLettersStatus()
    lanes: list[LaneStatus] = []
