"""The real daemon, as a process of its own, with real sockets and a real store in a folder of the test's."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from aiohttp import ClientError, ClientSession, ClientTimeout, UnixConnector

from cio_buffer.clock import SystemClock
from cio_buffer.outbox.archive import Dead
from cio_buffer.outbox.sqlite import SqliteOutbox

SITE_ID, TRACK_KEY = "site", "key"
AUTHORIZATION = "Basic " + b64encode(f"{SITE_ID}:{TRACK_KEY}".encode()).decode()
PATIENCE_S = 20.0
SENT_WHOLE_BYTES = 1_000_000  # aiohttp warns of more
HELD_STATES = ("pending", "held", "in_flight")
CONFIG = """\
[listen]
unix_path = "{folder}/api.sock"
http_address = "127.0.0.1:0"
[admin]
unix_path = "{folder}/admin.sock"
[upstream]
track_url = "{url}"
site_id = "site"
track_api_key = "key"
request_timeout_s = 5
[outbox]
path = "{folder}/store/outbox.db"
disk_free_min_bytes = 0
{store}
[retry]
backoff_first_s = 0.05
backoff_max_s = 0.2
[drain]
rate_max_per_s = 2000
at_stop_for_s = 2
{more}
"""

Door = Literal["unix", "tcp"]


class Daemon:
    """`cio-buffer run`. Start it, kill it, start it again on the same store."""

    def __init__(
        self,
        folder: Path,
        track_url: str,
        *,
        more: str = "",
        store: str = "ballast_bytes = 0",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """`more` goes at the end of the config, which is then inside `[drain]`; `store` into `[outbox]`."""
        self.folder = folder
        self.config = folder / "config.toml"
        self.config.write_text(CONFIG.format(folder=folder, url=track_url, more=more, store=store))
        self.store = folder / "store" / "outbox.db"
        self._environ = clean_environ() | dict(environ or {})
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "daemon.log"
        self._url = ""

    async def __aenter__(self) -> "Daemon":
        patience = ClientTimeout(PATIENCE_S)
        self._unix = ClientSession(connector=UnixConnector(str(self.folder / "api.sock")), timeout=patience)
        self._tcp = ClientSession(headers={"Authorization": AUTHORIZATION}, timeout=patience)
        self._admin = ClientSession(connector=UnixConnector(str(self.folder / "admin.sock")), timeout=ClientTimeout(5))
        try:
            await self.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in (self._unix, self._tcp, self._admin):
            await session.close()
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    async def start(self) -> float:
        """Start the process; returns after how many seconds it was ready."""
        began = time.monotonic()
        if await self._launch():
            return time.monotonic() - began
        raise AssertionError(f"the daemon did not start: {self.log.read_text()}")

    async def _launch(self, *before: str) -> bool:
        """Start the process, by a command that begins with `before`; whether it is ready before it ends, or in time."""
        began = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - it is over in a millisecond
                [*before, sys.executable, "-m", "cio_buffer", "run", "--config", str(self.config)],
                stderr=log,
                stdout=log,
                env=self._environ,
            )
        while self.process.poll() is None and time.monotonic() - began < PATIENCE_S:
            try:
                listening = (await self.status())["listening"]
            except (OSError, ClientError, TimeoutError):
                await asyncio.sleep(0.01)
            else:
                self._url = next(place for place in listening if place.startswith("http:"))
                return True
        return False

    async def kill(self) -> None:
        """End it as a power cut would: no handler runs."""
        assert self.process
        self.process.kill()
        await asyncio.to_thread(self.process.wait)

    async def stop(self) -> int:
        """End it politely; returns its exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    def signal(self, number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Wait until it has ended by itself; returns its exit code."""
        assert self.process
        return await asyncio.to_thread(self.process.wait, PATIENCE_S)

    async def status(self) -> dict[str, Any]:
        async with self._admin.get("http://localhost/status") as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def http_url(self) -> str:
        """Where the TCP door is this time."""
        return self._url

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        raw: bytes | None = None,
        *,
        door: Door = "unix",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Call the API: (status, body). On TCP with our credentials, unless `headers` have others."""
        status, _, answer = await self._answer(method, path, body, raw, door=door, headers=headers)
        return status, answer

    async def _answer(
        self,
        method: str,
        path: str,
        body: object = None,
        raw: bytes | None = None,
        *,
        door: Door = "unix",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """The same with the answer's headers."""
        said = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        data = BytesIO(said) if len(said) > SENT_WHOLE_BYTES else said or None
        session, base = (self._unix, "http://localhost") if door == "unix" else (self._tcp, self._url)
        async with session.request(method, base + path, data=data, headers=headers) as answer:
            return answer.status, answer.headers, await answer.read()

    async def headers(self, method: str, path: str, body: object) -> tuple[int, Mapping[str, str]]:
        """Call the API by the UNIX socket: (status, headers)."""
        status, headers, _ = await self._answer(method, path, body)
        return status, headers

    async def receipts(self, method: str, path: str, body: object) -> list[str]:
        """Have something accepted, by the UNIX socket: what its answer says that its name is."""
        status, headers, answer = await self._answer(method, path, body)
        assert status == 200, answer
        return headers["X-Cio-Buffer-Receipt"].split("..")

    async def admin(self, path: str) -> tuple[int, bytes]:
        """Ask the admin socket: (status, body)."""
        async with self._admin.get(f"http://localhost{path}") as answer:
            return answer.status, await answer.read()

    async def until(self, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the status is such; returns it. Raises AssertionError if it does not come about."""
        deadline = time.monotonic() + PATIENCE_S
        while not is_so(seen := await self.status()):
            assert time.monotonic() < deadline, seen
            await asyncio.sleep(0.01)
        return seen

    async def until_empty(self) -> dict[str, Any]:
        """Wait until nothing is held any more; returns the status then."""
        return await self.until(lambda seen: not any(seen["ledger"][state] for state in HELD_STATES))

    async def dead_letters(self) -> Sequence[Dead]:
        """What it gave up on. To be asked when it has ended."""
        outbox = SqliteOutbox(self.store, clock=SystemClock(), bytes_max=2**30, disk_free_min_bytes=0)
        await outbox.open()
        try:
            return await outbox.archive.letters(limit=100_000)
        finally:
            await outbox.close()

    def log_lines(self) -> list[dict[str, Any]]:
        """What it has logged so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for it. Raises AssertionError if it does not come about."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "that never came about"
        await asyncio.sleep(0.005)


def clean_environ() -> dict[str, str]:
    """The environment without any settings of ours."""
    return {k: v for k, v in os.environ.items() if not k.startswith("CIO_BUFFER") and k != "STATE_DIRECTORY"}
