"""Notices what befalls the store, by looking at it once a second, and says so once. Times are monotonic seconds."""

import math
from collections.abc import Sequence

from structlog.typing import FilteringBoundLogger

from cio_buffer.admin.quarantine_words import is_salvaged
from cio_buffer.outbox.contract import Condition, SetAside
from cio_buffer.telemetry import log

CHECKPOINT_TRIED_EVERY_S = 10.0
"""One that failed is tried again each second, or every five while commits fail too: after so long without another
failure it went through."""

SET_ASIDE_HINT = "it is damaged, and nothing of it is thrown away: what can be read comes back before anything leaves"
SALVAGED_HINT = (
    "what was saved may have been delivered before, and is sent again under the same ids; "
    "once nobody needs the damaged file any more: cio-buffer outbox quarantine remove"
)
CHECKPOINT_HINT = (
    "nothing is lost, but the write-ahead log beside the store grows, and at 256 MiB operations are refused: "
    "look at the disk"
)


class StoreWatch:
    """Compares each look with the one before. Damaged stores that are there at the first one are told, too."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        self._logger = logger
        self._known: dict[str, SetAside] = {}
        self._checkpoint_errors, self._checkpoint_failed_at = 0, -math.inf
        self.is_checkpoint_failing = False

    def look(self, condition: Condition, set_aside: Sequence[SetAside], now: float) -> None:
        """To be called once a second."""
        self._look_at_checkpoints(condition.errors.get("checkpoint", 0), now)
        before, self._known = self._known, {one.name: one for one in set_aside}
        for name, one in self._known.items():
            self._tell(before.get(name), one)
        for name in before.keys() - self._known.keys():
            self._logger.info(log.STORE_QUARANTINE_REMOVED, name=name, bytes=before[name].bytes)

    def _look_at_checkpoints(self, errors: int, now: float) -> None:
        before, self._checkpoint_errors = self._checkpoint_errors, errors
        was_failing = self.is_checkpoint_failing
        if errors > before:
            self._checkpoint_failed_at = now
        self.is_checkpoint_failing = now - self._checkpoint_failed_at < CHECKPOINT_TRIED_EVERY_S
        if self.is_checkpoint_failing and not was_failing:
            self._logger.warning(log.STORE_CHECKPOINT_FAILED, errors=errors, hint=CHECKPOINT_HINT)
        elif was_failing and not self.is_checkpoint_failing:
            self._logger.info(log.STORE_CHECKPOINT_RECOVERED, errors=errors)

    def _tell(self, before: SetAside | None, now: SetAside) -> None:
        if before is None:
            self._logger.error(
                log.STORE_SET_ASIDE, name=now.name, path=now.path, bytes=now.bytes, reason=now.why, hint=SET_ASIDE_HINT
            )
        if is_salvaged(now) and not (before and is_salvaged(before)):
            self._logger.warning(
                log.STORE_SALVAGED,
                name=now.name,
                state=now.state,
                saved=now.saved,
                dead_saved=now.dead_saved,
                lost=now.lost,
                dead_lost=now.dead_lost,
                hint=SALVAGED_HINT,
            )
