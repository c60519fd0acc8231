"""SIGHUP: read the config again, take its keys, and try at once. Everything else in it changes by a restart only."""

import asyncio
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from cio_buffer.config import Config, ConfigError
from cio_buffer.config.changes import changed_addressee, changed_keys, changed_settings
from cio_buffer.telemetry import log

NOTHING_NEW = (
    "no key is another than before; one that is a systemd credential or comes from the environment stays as it was at "
    "the start: restart for that"
)
FOR_SOMEBODY_ELSE = "the keys beside this setting are for another workspace than the one that the daemon sends to"
RESTART = "restart: only keys change while it runs"


class Reload:
    """Does it whenever `asked` is set."""

    def __init__(
        self,
        config: Config,
        *,
        load_again: Callable[[], Config],
        use_keys: Callable[[Config], None],
        asked: asyncio.Event,
        logger: FilteringBoundLogger,
    ) -> None:
        """`config` is what runs. `load_again` reads its sources anew, and raises ConfigError; it may be slow.

        `use_keys` has a config's keys used from now on, and what waits tried with them.
        """
        self._running = self._keys_from = config
        self._load_again, self._use_keys = load_again, use_keys
        self._asked, self._logger = asked, logger

    async def run(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self.step()

    async def step(self) -> None:
        """Take the keys, all of them or none, and say which of the two."""
        try:
            anew = await asyncio.to_thread(self._load_again)
        except ConfigError as mistakes:
            first, *_ = mistakes.problems
            self._refuse(first.what, where=first.where, hint=first.fix, count=len(mistakes.problems))
            return
        if elsewhere := changed_addressee(self._running, anew):
            self._refuse(FOR_SOMEBODY_ELSE, where=elsewhere[0], hint=RESTART, count=len(elsewhere))
            return
        keys, settings = changed_keys(self._keys_from, anew), changed_settings(self._running, anew)
        self._keys_from = anew
        self._use_keys(anew)
        hint = RESTART if settings else "" if keys else NOTHING_NEW
        self._logger.info(log.CONFIG_RELOADED, keys=keys, needs_restart=settings, hint=hint)

    def _refuse(self, problem: str, *, where: str, hint: str, count: int) -> None:
        """Say why nothing was changed: the first problem, and how many there are. No message of ours holds a key."""
        self._logger.error(log.CONFIG_RELOAD_REFUSED, problem=problem, where=where, problems=count, hint=hint)
