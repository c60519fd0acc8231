"""An admin socket to ask, with dead letters in memory: in a thread of its own, so that a command may wait for it."""

import asyncio
import threading
from pathlib import Path
from types import TracebackType

from tests.admin.letterbox import Desk, dead

PATIENCE_S = 10.0


class DeskThread:
    """Serves at `path` while it is entered."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened, self._closing = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> "DeskThread":
        self._thread.start()
        assert self._opened.wait(PATIENCE_S)
        self.archive = self.desk.archive
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Go away. May be done again."""
        if self._thread.is_alive():
            self.in_its_thread(self._closing.set)
            self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def hold(self) -> None:
        """Changes wait from now on."""
        self.archive.may_go_on.clear()

    def go_on(self) -> None:
        self.in_its_thread(self.archive.may_go_on.set)

    def in_its_thread(self, act: object) -> None:
        self._loop.call_soon_threadsafe(act)  # type: ignore[arg-type]

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.desk = Desk(*(dead(seq) for seq in (1, 2, 3)))
        await self.desk.open(self.path)
        self._opened.set()
        await self._closing.wait()
        await self.desk.close()
