"""Looks at the rooms and says how they are."""

from contextlib import suppress

from structlog.typing import FilteringBoundLogger

from cio_buffer import __version__
from cio_buffer.admin.flow import Flow
from cio_buffer.admin.forecast import Stored, forecast
from cio_buffer.admin.keeper import keeping
from cio_buffer.admin.quarantine_words import quarantined
from cio_buffer.admin.status import (
    DrainStatus,
    LedgerStatus,
    OutboxStatus,
    PassthroughStatus,
    State,
    Status,
    UpstreamStatus,
)
from cio_buffer.admin.store_watch import StoreWatch
from cio_buffer.admin.survey import Survey
from cio_buffer.admin.warnings import STALE_HINT
from cio_buffer.clock import Clock
from cio_buffer.config import Config
from cio_buffer.delivery.drain import Drain
from cio_buffer.errors import OutboxUnavailable
from cio_buffer.outbox.archive import Keeping
from cio_buffer.outbox.contract import Outbox
from cio_buffer.passthrough import Passthrough
from cio_buffer.telemetry import log
from cio_buffer.upstream.limits import CAMPAIGN_AGE_MAX_S
from cio_buffer.upstream.troubles import hint_for

LOOK_EVERY_S = 1.0
MINUTE_S, LATELY_S = 60.0, 10.0  # over which rates are taken
LOOK_AT_AGE_EVERY_S = 10.0  # the store is asked for it
KEPT_BY_DEFAULT = keeping(Config().outbox)
ROOM_EVENTS = {
    "outbox_full": (log.OUTBOX_FULL, log.OUTBOX_HAS_ROOM),
    "disk_low": (log.DISK_LOW, log.DISK_RECOVERED),
    "store_unwritable": (log.STORE_UNWRITABLE, log.STORE_RECOVERED),
}
AUDIT_REST_S, AUDIT_SHARE = 1.0, 50
"""After a real count: rest at least so long, and so many times as long as the count took."""


class Observer:
    """Takes the snapshot."""

    def __init__(
        self,
        outbox: Outbox,
        drain: Drain,
        passthrough: Passthrough,
        *,
        track_url: str,
        clock: Clock,
        logger: FilteringBoundLogger,
        keeping: Keeping = KEPT_BY_DEFAULT,
        show_payloads: bool = False,
    ) -> None:
        """`show_payloads`: whether lanes may be named."""
        self._outbox, self._drain, self._passthrough = outbox, drain, passthrough
        self._logger = logger
        self._track_url = track_url
        self._clock = clock
        self._began = clock.monotonic()
        self._flow = Flow(outbox.ledger(), self._began)
        self._store = StoreWatch(logger)
        self._survey = Survey(outbox, clock=clock, dead_bytes_max=keeping.dead_bytes, show_names=show_payloads)
        self._refusing = ""
        self._is_stale = False
        self._is_balanced = True
        self.is_stopping = False
        self.listening: list[str] = []

    def reasons(self) -> list[str]:
        """Why an operation sent now would not be stored; empty when it would."""
        if self.is_stopping:
            return ["stopping"]
        refusing = self._outbox.condition().refusing
        return [refusing] if refusing else []

    async def is_alive(self) -> bool:
        """Whether the store answers; False means that a restart would help."""
        return await self._outbox.is_answering()

    async def status(self) -> Status:
        await self._survey.freshen()
        reasons = self.reasons()
        return Status(
            version=__version__,
            state=self._state(reasons),
            reasons=reasons,
            uptime_s=round(self._clock.monotonic() - self._began, 3),
            mode="live",
            listening=self.listening,
            ledger=self._ledger(),
            outbox=await self._outbox_status(),
            drain=self._drain_status(),
            upstream=self._upstream(),
            passthrough=PassthroughStatus(requests=self._passthrough.requests, failed=self._passthrough.failed),
            dead_letters=self._survey.dead_letters(),
            lanes=self._survey.lanes(),
        )

    async def watch_room(self) -> None:
        """Look again and again what the outbox refuses, and how much comes and goes."""
        while True:
            self.look_at_room()
            await self._clock.sleep(LOOK_EVERY_S)

    async def watch_store(self) -> None:
        """Look again and again which lanes are busy, and why dead letters died."""
        await self._survey.run()

    async def watch_age(self) -> None:
        """Look again and again how old the oldest entry is."""
        while True:
            with suppress(OutboxUnavailable):  # the next round tries again
                await self.look_at_age()
            await self._clock.sleep(LOOK_AT_AGE_EVERY_S)

    def look_at_room(self) -> None:
        """Say so when the outbox begins or ceases to refuse operations, and what else befalls the store."""
        condition, now = self._outbox.condition(), self._clock.monotonic()
        self._flow.look(self._outbox.ledger(), now)
        self._store.look(condition, self._outbox.set_aside(), now)
        before, self._refusing = self._refusing, condition.refusing
        if self._refusing != before:
            self._report_room(before, self._refusing)

    async def look_at_age(self) -> None:
        """Say so when what waits becomes too old to start campaigns, and when that is over."""
        age_s = await self._oldest_age_s()
        was_stale, self._is_stale = self._is_stale, is_stale(age_s)
        if self._is_stale and not was_stale:
            self._logger.warning(log.OUTBOX_STALE, oldest_age_s=age_s, hint=STALE_HINT)
        elif was_stale and not self._is_stale:
            self._logger.info(log.OUTBOX_FRESH, oldest_age_s=age_s)

    async def _oldest_age_s(self) -> float | None:
        """None if nothing waits. By a clock that may have been set since: what comes from the future is just new."""
        oldest_at_ms = await self._outbox.oldest_at_ms()
        return None if oldest_at_ms is None else max(round(self._clock.now() - oldest_at_ms / 1000, 3), 0.0)

    def _report_room(self, before: str, after: str) -> None:
        if before:
            self._logger.info(ROOM_EVENTS[before][1])
        if after:
            condition = self._outbox.condition()
            self._logger.error(ROOM_EVENTS[after][0], bytes=condition.bytes_used, bytes_max=condition.bytes_max)

    async def audit(self) -> None:
        """Hold a real count against the running totals, again and again."""
        counted = None
        while True:
            began = self._clock.monotonic()
            if counted != self._outbox.ledger():
                with suppress(OutboxUnavailable):  # the next round tries again
                    audit = await self._outbox.audit()
                    self._is_balanced, counted = audit.is_balanced, audit.ledger
            await self._clock.sleep(max(AUDIT_REST_S, AUDIT_SHARE * (self._clock.monotonic() - began)))

    def _state(self, reasons: list[str]) -> State:
        if self.is_stopping:
            return "stopping"
        return "refusing" if reasons else "ready"

    def _ledger(self) -> LedgerStatus:
        """Its sum comes out, also while the drain still has in hand what was in a store that is damaged and gone."""
        ledger = self._outbox.ledger()
        in_flight = min(self._drain.in_flight_entries, ledger.entries)
        held = min(max(ledger.parked - self._drain.in_flight_parked, 0), ledger.entries - in_flight)
        return LedgerStatus(
            accepted=ledger.accepted,
            replayed=ledger.replayed,
            delivered=ledger.delivered,
            dead_lettered=ledger.dead_lettered,
            purged=ledger.purged,
            pending=ledger.entries - held - in_flight,
            held=held,
            in_flight=in_flight,
            balanced=self._is_balanced,
            salvaged=ledger.salvaged,
        )

    async def _outbox_status(self) -> OutboxStatus:
        age_s = await self._oldest_age_s()
        ledger, sizes, condition = self._outbox.ledger(), self._outbox.sizes(), self._outbox.condition()
        now = self._clock.monotonic()
        minute = self._flow.rates(ledger, now, over_s=MINUTE_S)
        lately = self._flow.rates(ledger, now, over_s=LATELY_S)
        stored = Stored(
            waiting=ledger.entries,
            dead=ledger.dead,
            log_bytes=sizes.log_bytes,
            bytes_used=condition.bytes_used,
            bytes_max=condition.bytes_max,
        )
        is_held = self._drain.pacing.hold is not None or condition.is_salvaging
        foreseen = forecast(minute, lately, stored, is_held=is_held)
        return OutboxStatus(
            entries=ledger.entries + ledger.dead,
            bytes=condition.bytes_used,
            bytes_max=condition.bytes_max,
            oldest_age_s=age_s,
            is_stale=is_stale(age_s),
            accepted_per_s=round(minute.accepted_per_s, 1),
            empty_in_s=foreseen.empty_in_s,
            full_in_s=foreseen.full_in_s,
            order_violations=self._drain.order.violations,
            log_lines=sizes.log_lines,
            log_bytes=sizes.log_bytes,
            quarantined=[quarantined(one) for one in self._outbox.set_aside()],
            is_salvaging=condition.is_salvaging,
            errors=condition.errors,
            is_checkpoint_failing=self._store.is_checkpoint_failing,
        )

    def _drain_status(self) -> DrainStatus:
        now, pacing = self._clock.monotonic(), self._drain.pacing
        return DrainStatus(
            state="paused" if pacing.hold else "running",
            paused=pacing.hold,
            breaker=pacing.state(now),
            entries_per_s=round(self._drain.record.delivered.per_s(now), 1),
            rate_limit_per_s=round(pacing.rate_limit_per_s(now), 1),
            v1_behind_s=round(self._drain.v1_behind_s, 1),
            in_flight=pacing.in_flight,
            in_flight_limit=pacing.in_flight_limit,
        )

    def _upstream(self) -> UpstreamStatus:
        now, pacing = self._clock.monotonic(), self._drain.pacing
        next_try_in_s = pacing.next_try_in_s(now)
        return UpstreamStatus(
            track_url=self._track_url,
            recent=self._drain.record.answers.counts(now),
            trouble=pacing.trouble,
            hint=hint_for(pacing.trouble),
            next_try_in_s=None if next_try_in_s is None else round(next_try_in_s, 3),
            ambiguous=self._drain.record.ambiguous,
        )


def is_stale(age_s: float | None) -> bool:
    """Whether events so old start no campaigns any more."""
    return age_s is not None and age_s > CAMPAIGN_AGE_MAX_S
