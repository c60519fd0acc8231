"""`cio-buffer demo`: an app, the real daemon, and a simulated Customer.io that has a bad moment."""

import asyncio
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from textwrap import indent

import click
import msgspec
from aiohttp import ClientSession, UnixConnector

from cio_buffer.admin.status import Status
from cio_buffer.admin.story import Traced, read_moment
from cio_buffer.cli import complain
from cio_buffer.cli.telling import lines
from cio_buffer.clock import SystemClock
from cio_buffer.ingest.taken import RECEIPT
from cio_buffer.sandbox import Faults, Ledger, Sandbox

try:
    import customerio
except ImportError:  # an extra: only the demo needs it
    customerio = None

PEOPLE = [f"{name}@example.com" for name in ("ann", "bob", "cleo", "dan", "eve", "fay", "gus", "hal", "ida", "jon")]
ROUNDS = 10
MAILS = 1
OUTAGE_S = 3.0
LOOK_EVERY_S = 0.5
GIVE_UP_AFTER_S = 30.0
INTERRUPTED = 130  # as shells say it
BAR_WIDTH = 30
CONFIG = """\
[listen]
unix_path = "{folder}/api.sock"
http_address = "127.0.0.1:0"
[admin]
unix_path = "{folder}/admin.sock"
[upstream]
track_url = "{url}"
app_url = "{url}"
site_id = "demo-site"
track_api_key = "demo-key"
[outbox]
path = "{folder}/outbox.db"
disk_free_min_bytes = 0
[retry]
backoff_first_s = 0.2
backoff_max_s = 1
[drain]
at_stop_for_s = 1
[log]
level = "error"
"""


def demo() -> int:
    """Run it; returns 0 if the books add up."""
    if customerio is None:
        complain(
            "the demo needs Customer.io's Python SDK",
            "it plays the app, which only changes its URL",
            "pip install 'cio_buffer[demo]'",
        )
        return 1
    try:
        return asyncio.run(play())
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED


async def play() -> int:
    """Whoever ends us ends the daemon too: SIGTERM unwinds like Ctrl-C."""
    if whole := asyncio.current_task():
        for number in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal must not leave the daemon behind
            asyncio.get_running_loop().add_signal_handler(number, whole.cancel)
    clock = SystemClock()
    faults, arrived = Faults(clock), Ledger()
    sandbox = Sandbox(clock, faults, arrived, site_id="demo-site", track_api_key="demo-key")
    with tempfile.TemporaryDirectory(prefix="cio-buffer-demo-") as folder:
        url = await sandbox.start()
        try:
            async with daemon(Path(folder), url) as running:
                show = Show(running, clock.monotonic())
                show.opening(url)
                await tell_the_story(running, faults, show)
                return show.books(await running.status(), sandbox)
        finally:
            await sandbox.stop()


async def tell_the_story(running: "Running", faults: Faults, show: "Show") -> None:
    """Traffic all the while; Customer.io fails in the middle of it."""
    watching = asyncio.ensure_future(show.watch())
    try:
        await chapters(running, faults, show)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def chapters(running: "Running", faults: Faults, show: "Show") -> None:
    show.say(
        "An app signs up 10 people, then reports what they do: through the official SDK, and over the UNIX socket."
    )
    await asyncio.to_thread(sign_up, running.http_url)
    await traffic(running, range(0, 2))
    await running.wait_until_empty()
    show.say("Customer.io loses two answers: it took the requests in, and the connection broke before it said so.")
    faults.lose_answers(requests=2)
    await traffic(running, range(2, 3))
    receipt = running.latest_receipt
    show.say(f"Now Customer.io answers 503 to every event, for {OUTAGE_S:.0f} seconds. The app does not notice.")
    faults.answer(503, body="upstream is sorry", seconds=OUTAGE_S, path_prefix="/api/")
    await traffic(running, range(3, 5))
    took_s = await asyncio.to_thread(send_mail, running.http_url)
    show.say(f"A mail does not wait for that: it went straight through, and was answered in {took_s * 1000:.0f} ms.")
    await traffic(running, range(5, ROUNDS))
    await running.wait_until_empty()
    show.story(await running.trace(receipt))


def sign_up(http_url: str) -> None:
    """What an app does today, but for its URL."""
    sdk = client(http_url)
    for number, person in enumerate(PEOPLE):
        sdk.identify(id=str(number), email=person, plan="free")


def send_mail(http_url: str) -> float:
    """A transactional mail, by the SDK's other client; returns how long it took, in seconds."""
    sdk = customerio.APIClient("demo-app-key", url=http_url)
    mail = customerio.SendEmailRequest(to=PEOPLE[0], transactional_message_id="reset", identifiers={"id": "0"})
    clock = SystemClock()
    began = clock.monotonic()
    sdk.send_email(mail)
    return clock.monotonic() - began


def client(http_url: str) -> "customerio.CustomerIO":
    sdk = customerio.CustomerIO("demo-site", "demo-key")
    sdk.base_url = f"{http_url}/api/v1"  # the one line: this SDK has no option for plain http
    return sdk


async def traffic(running: "Running", rounds: range) -> None:
    """In each round everybody does two things: one told by the SDK, one in a batch over the UNIX socket."""
    for round_number in rounds:
        await asyncio.to_thread(report, running.http_url, 2 * round_number)
        await running.send_batch(batch_of(2 * round_number + 1))
        if round_number == 1:
            await running.send_batch([REFUSED_LATER])
        await asyncio.sleep(LOOK_EVERY_S)


def report(http_url: str, number: int) -> None:
    sdk = client(http_url)
    for person in range(len(PEOPLE)):
        sdk.track(str(person), "viewed", {"n": number})


def batch_of(number: int) -> list[dict[str, object]]:
    """A v2 batch, as an app would send it: without ids and timestamps, which the daemon adds."""
    return [
        {
            "type": "person",
            "action": "event",
            "identifiers": {"id": str(person)},
            "name": "bought",
            "attributes": {"n": number},
        }
        for person in range(len(PEOPLE))
    ]


REFUSED_LATER: dict[str, object] = {
    "type": "person",
    "action": "identify",
    "identifiers": {"id": "0"},
    "attributes": {"note": "x" * 1_500},
}
"""One operation that only Customer.io can refuse: an attribute of over 1,000 bytes."""


class Running:
    """A daemon that is up."""

    def __init__(self, http_url: str, api: ClientSession, admin: ClientSession) -> None:
        self.http_url = http_url
        self._api, self._admin = api, admin
        self.latest_receipt = ""

    async def send_batch(self, operations: list[dict[str, object]]) -> None:
        async with self._api.post("http://localhost/api/v2/batch", json={"batch": operations}) as answer:
            answer.raise_for_status()
            self.latest_receipt = answer.headers[RECEIPT].partition("..")[0]

    async def status(self) -> Status:
        async with self._admin.get("http://localhost/status") as answer:
            return msgspec.json.decode(await answer.read(), type=Status)

    async def trace(self, receipt: str) -> Traced:
        async with self._admin.get(f"http://localhost/trace?receipt={receipt}") as answer:
            return msgspec.json.decode(await answer.read(), type=Traced)

    async def wait_until_empty(self) -> None:
        """Return when all is settled and counted. Raises TimeoutError."""
        async with asyncio.timeout(GIVE_UP_AFTER_S):
            while held(await self.status()):
                await asyncio.sleep(0.1)


def held(seen: Status) -> int:
    return seen.ledger.pending + seen.ledger.held + seen.ledger.in_flight


@asynccontextmanager
async def daemon(folder: Path, sandbox_url: str) -> AsyncIterator[Running]:
    """`cio-buffer run` as a process of its own, with real sockets and a real store in `folder`."""
    config = folder / "config.toml"
    config.write_text(CONFIG.format(folder=folder, url=sandbox_url))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CIO_BUFFER")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cio_buffer",
        "run",
        "--config",
        str(config),
        env=environment,
        start_new_session=True,  # Ctrl-C is for the demo, which then stops the daemon: not for both at once
    )
    try:
        async with (
            ClientSession(connector=UnixConnector(str(folder / "api.sock"))) as api,
            ClientSession(connector=UnixConnector(str(folder / "admin.sock"))) as admin,
        ):
            running = Running("", api, admin)
            await until_ready(process, running)
            yield running
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def until_ready(process: asyncio.subprocess.Process, running: Running) -> None:
    """Wait for the sockets, and learn where the HTTP one is. Raises RuntimeError if the daemon ends instead."""
    async with asyncio.timeout(GIVE_UP_AFTER_S):
        while process.returncode is None:
            try:
                seen = await running.status()
            except OSError:
                await asyncio.sleep(0.05)
            else:
                running.http_url = next(place for place in seen.listening if place.startswith("http:"))
                return
    raise RuntimeError(f"the daemon ended with exit code {process.returncode}")


class Show:
    """What the demo prints. One line each half second, and the books at the end."""

    def __init__(self, running: Running, began: float) -> None:
        self._running = running
        self._began = began
        self._clock = SystemClock()
        self._most_waiting = 0

    def opening(self, url: str) -> None:
        click.secho("cio_buffer demo", bold=True)
        click.echo(
            f"  a simulated Customer.io   {url}\n"
            f"  the daemon's HTTP door    {self._running.http_url}\n"
            "  Each call is on disk before the app hears yes; the daemon delivers it, in order, in batches.\n"
        )

    def say(self, sentence: str) -> None:
        click.secho(f"{self._now()}  {sentence}", fg="cyan")

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self._line(await self._running.status())

    def _line(self, seen: Status) -> None:
        waiting = held(seen)
        self._most_waiting = max(self._most_waiting, waiting)
        bar = "#" * min(round(waiting / 4), BAR_WIDTH)
        state = "Customer.io is down, holding" if seen.drain.paused else ""
        click.echo(
            f"{self._now()}  {seen.ledger.accepted:>4} accepted  {seen.ledger.delivered:>4} delivered  "
            f"{waiting:>4} waiting {bar} {state}".rstrip()
        )

    def story(self, traced: Traced) -> None:
        """What became of one operation, as `cio-buffer trace` tells it."""
        (story,) = traced.stories
        click.echo(f"\nWhat became of one of those whose answer was lost (cio-buffer trace {story.receipt}):")
        click.echo(indent("\n".join(lines(story, read_moment(traced.at), traced.log_since, None)), "  "))

    def _now(self) -> str:
        return f"{self._clock.monotonic() - self._began:5.1f} s"

    def books(self, seen: Status, sandbox: Sandbox) -> int:
        """Hold the daemon's ledger against what really arrived; 0 if they agree."""
        arrived, ledger = Arrived(sandbox), seen.ledger
        delivered, dead, still_held = ledger.delivered, ledger.dead_lettered, held(seen)
        click.echo(f"\n{arrived.told()}\n  at most {self._most_waiting} waited at once")
        if dead:
            click.echo("  one operation was meant to be refused: it is a dead letter, and its batch went through")
        adds_up = ledger.balanced and ledger.accepted == delivered + dead + still_held
        agrees = arrived.in_effect == delivered and not arrived.disorder and not arrived.counted_twice
        agrees &= arrived.mails == MAILS
        if not (adds_up and agrees):
            click.secho("The books do not add up.", fg="red", err=True)
        sides = f"accepted {ledger.accepted} = delivered {delivered} + dead lettered {dead} + still held {still_held}"
        click.secho(f"ledger: {sides}", bold=True)
        return 0 if adds_up and agrees else 1


class Arrived:
    """What the simulated Customer.io holds: each person's events carry `n`, which counts what the app did."""

    def __init__(self, sandbox: Sandbox) -> None:
        counts = sandbox.ledger.counts
        self.in_effect = counts["taken"] + counts["lost_answer"]
        self.repeats = counts["duplicate"]
        self.requests = sandbox.ledger.requests_total
        self.mails = sandbox.app_ledger.requests_total
        self.statuses = Counter(str(request.status or "no answer") for request in sandbox.ledger.requests)
        told = [[event.data["n"] for event in person.events] for person in sandbox.workspace.people.everyone()]
        self.disorder = sum(later < earlier for numbers in told for earlier, later in pairwise(numbers))
        self.counted_twice = sum(len(numbers) - len(set(numbers)) for numbers in told)

    def told(self) -> str:
        """What a person should know of it."""
        statuses = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items()))
        return (
            f"What Customer.io saw: {self.requests} requests ({statuses}).\n"
            f"  {self.in_effect} operations took effect, disorder {self.disorder}, counted twice {self.counted_twice}\n"
            f"  {self.repeats} came again after a lost answer, were known by their ids, and did nothing\n"
            f"  {self.mails} mail went straight through, once"
        )
