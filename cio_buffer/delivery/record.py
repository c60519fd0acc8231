"""What the drain has seen and done: numbers for status, and what of it is worth a line in the log."""

from collections.abc import Sequence

from structlog.typing import FilteringBoundLogger

from cio_buffer.clock import Clock
from cio_buffer.delivery.pacing import Pacing
from cio_buffer.delivery.verdict import Meaning, Verdict
from cio_buffer.outbox.entry import DeadLetter, Delivered, Entry, Settled
from cio_buffer.outbox.names import Names
from cio_buffer.telemetry import log
from cio_buffer.telemetry.recent import Recent
from cio_buffer.upstream.transport import Reply
from cio_buffer.upstream.troubles import hint_for


class Record:
    """`answers` and `delivered` are of the last minutes and seconds.

    `ambiguous` counts operations since the start whose answer was lost: perhaps taken in, and sent again under the
    same ids.
    """

    def __init__(self, clock: Clock, logger: FilteringBoundLogger, names: Names) -> None:
        self._clock, self._logger, self._names = clock, logger, names
        self._held_for: str | None = None
        self.answers = Recent(window_s=300.0)
        self.delivered = Recent(window_s=10.0)
        self.ambiguous = 0

    def heard(self, reply: Reply, verdict: Verdict, *, request: int, entries: int) -> None:
        """A request with so many entries came back, or did not."""
        self.answers.add(str(reply.status or reply.trouble), self._clock.monotonic())
        self.ambiguous += entries if verdict.meaning is Meaning.AMBIGUOUS else 0
        self._logger.debug(log.BATCH_SENT, request=request, entries=entries, status=reply.status, trouble=reply.trouble)

    def look_at_hold(self, pacing: Pacing, reply: Reply) -> None:
        """Say so when everything is held, or held for another reason than before, or no longer."""
        was, self._held_for = self._held_for, pacing.trouble if pacing.hold else None
        if self._held_for == was:
            return
        if self._held_for is None:
            self._logger.info(log.UPSTREAM_RECOVERED, was=was)
            return
        event, say = log.UPSTREAM_FAILING, self._logger.warning
        if pacing.hold == "credentials":
            event, say = log.UPSTREAM_CREDENTIALS_REJECTED, self._logger.error
        elif self._held_for == "throttled":
            event = log.UPSTREAM_THROTTLED
        wait_s = pacing.next_try_in_s(self._clock.monotonic())
        hint = hint_for(self._held_for)
        say(event, reason=self._held_for, status=reply.status, next_try_in_s=wait_s, hint=hint)

    def held_back(self, entry: Entry, reason: str) -> None:
        """One entry waits for its own trouble's sake."""
        self._logger.debug(log.ENTRY_RETRY_SCHEDULED, receipt=self._receipt(entry), reason=reason)

    def settled(self, settled: Sequence[Settled]) -> None:
        """Count what left, and name what died: without its words, which may hold personal data."""
        others = [one for one in settled if type(one.settlement) is not Delivered]
        self.delivered.add("delivered", self._clock.monotonic(), len(settled) - len(others))
        for one in others:
            if isinstance(one.settlement, DeadLetter):
                reason = one.settlement.reason
                receipt = self._receipt(one.entry)
                self._logger.warning(log.ENTRY_DEAD_LETTERED, receipt=receipt, kind=one.entry.kind, reason=reason)

    def _receipt(self, entry: Entry) -> str:
        return self._names.receipt(entry.first_seq, entry.accepted_at_ms)
