"""The one snapshot that every view shows. Its field names are public: scripts lean on them."""

from typing import Literal

from msgspec import Struct

State = Literal["starting", "ready", "refusing", "stopping"]
Paused = Literal["operator", "credentials", "outage"]


class LedgerStatus(Struct, frozen=True, kw_only=True):
    """Operations since the store was made, across restarts.

    accepted + replayed = delivered + dead_lettered + purged + pending + held + in_flight; `balanced` says whether a
    real count, made in the background, agrees with the running totals.
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


class OutboxStatus(Struct, frozen=True, kw_only=True):
    """`entries`: all that is stored, dead letters too. `oldest_age_s`: of what waits; null if nothing does."""

    entries: int
    bytes: int
    bytes_max: int
    oldest_age_s: float | None
    order_violations: int


class DrainStatus(Struct, frozen=True, kw_only=True):
    """`in_flight` counts requests here. `paused`: why nothing leaves, null while it does."""

    state: Literal["running", "paused"]
    paused: Paused | None
    entries_per_s: float
    in_flight: int
    in_flight_limit: int


class UpstreamStatus(Struct, frozen=True, kw_only=True):
    """`recent`: answers of the last five minutes by status, or by what went wrong on the way."""

    track_url: str
    recent: dict[str, int]
    next_try_in_s: float | None


class PassthroughStatus(Struct, frozen=True, kw_only=True):
    requests: int = 0
    failed: int = 0


class Status(Struct, frozen=True, kw_only=True):
    """How the daemon is. `reasons` says why `state` is not ready, `listening` where apps reach it."""

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
