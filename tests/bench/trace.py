"""How long it takes to find out what became of an operation, in delivery logs of different length.

Asked of the real daemon at `GET /trace`, as `cio-buffer trace` does, one question after the other, with nothing else to
do. By a receipt an index leads there; by a person or an event's id all of the log is read, so what is found that way
stands far apart in it.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec
from aiohttp import ClientSession, ClientTimeout, UnixConnector
from msgspec import Struct

from cio_buffer.admin.story import Traced
from tests.bench.logged import CROWD, CROWD_ENTRIES, FOUND_AT, PERSON, REFUSALS, Logged, Shape, write
from tests.bench.plan import Plan
from tests.bench.processes import AS_SHIPPED, NOWHERE
from tests.bench.report import Failed, Goal, Outcome, Row, median_row
from tests.support.process import Daemon

GOALS_MS = {1_000_000: 100.0, 40_000_000: 2_000.0}
KEEPS_ALL = AS_SHIPPED | {
    "CIO_BUFFER__OUTBOX__KEEP_LOG_BYTES": "4294967296",
    "CIO_BUFFER__OUTBOX__BYTES_MAX": "68719476736",
}
"""The longest of these logs takes more than is kept as shipped."""

PATIENCE_S = 60.0
SEED = 20_261_125


class Question(Struct, frozen=True, kw_only=True):
    """`query` is for `GET /trace`; it brings so many stories, each of so many requests."""

    what: str
    query: str
    stories: int = 1
    requests: int = REFUSALS + 1
    has_goal: bool = True


class Answers(Struct, frozen=True, kw_only=True):
    """How long the answers to a question took. `cold_ms`: the first, with nothing of the store in memory."""

    question: Question
    warm_ms: Sequence[float]
    cold_ms: float


class Kind(Struct, frozen=True, kw_only=True):
    """A store to be asked. `name` goes in its folder's name, `what` in the table."""

    name: str
    what: str
    shape: Shape
    goal: Goal | None = None


def run(plan: Plan, folder: Path) -> Outcome:
    rows: list[Row] = []
    notes = [
        f"trace: GET /trace of the daemon, {plan.trace_rounds} times each, the log in the page cache; "
        f"the command is all of `cio-buffer trace RECEIPT`; seed {SEED}"
    ]
    for kind in kinds(plan):
        click.echo(f"  writing a log of {kind.what}", err=True)
        place = folder / kind.name
        logged = write(place, kind.shape, SEED)
        size_mb = (place / "store" / "outbox.db").stat().st_size / 1e6
        answers, command_ms = asyncio.run(measure(logged, plan.trace_rounds))
        shutil.rmtree(place)
        rows += rows_of(kind, answers, command_ms)
        notes.append(f"trace in {kind.what}: {logged.lines:,} lines, a store of {size_mb:,.0f} MB; {cold(answers)}")
    return Outcome(rows, notes)


def rows_of(kind: Kind, answers: Sequence[Answers], command_ms: Sequence[float]) -> Iterator[Row]:
    for one in answers:
        goal = kind.goal if one.question.has_goal else None
        yield median_row(f"trace in {kind.what}: {one.question.what}", "ms", one.warm_ms, goal)
    if kind.goal:
        yield median_row(f"trace in {kind.what}: the command", "ms", command_ms)


def cold(answers: Sequence[Answers]) -> str:
    said = [f"{one.question.what} {one.cold_ms:,.0f} ms" for one in answers]
    return f"once each, with nothing of it in the page cache: {', '.join(said)}"


def kinds(plan: Plan) -> Sequence[Kind]:
    """The logs that goals are about, and two that are hard: many lines, and lines that reach far back."""
    singles, shortest = plan.trace_singles, min(plan.trace_logged)
    return [
        *(
            Kind(
                name=str(entries),
                what=f"{entries:,}",
                shape=Shape(entries=entries),
                goal=Goal(ours_max=GOALS_MS[entries]),
            )
            for entries in plan.trace_logged
        ),
        Kind(
            name="singles",
            what=f"{singles:,} sent one by one",
            shape=Shape(entries=singles, full_entries=1, small_share=0),
        ),
        Kind(
            name="wide",
            what=f"{shortest:,}, an old one in each request",
            shape=Shape(entries=shortest, small_share=0, is_wide=True),
        ),
    ]


def questions(logged: Logged) -> Sequence[Question]:
    return [
        Question(what="by receipt", query=f"receipt={logged.receipt}"),
        Question(what="by person", query=f"person={PERSON}", stories=len(FOUND_AT)),
        Question(what="by event id", query=f"event_id={logged.event_id}"),
        Question(
            what=f"{CROWD_ENTRIES:,} of one person",
            query=f"person={CROWD}&limit={CROWD_ENTRIES}",
            stories=CROWD_ENTRIES,
            requests=1,
            has_goal=False,
        ),
    ]


async def measure(logged: Logged, rounds: int) -> tuple[list[Answers], Sequence[float]]:
    """The answers to each question; and how long the command took, that asks by receipt."""
    async with Daemon(logged.folder, NOWHERE, environ=KEEPS_ALL) as daemon:
        connector = UnixConnector(str(logged.folder / "admin.sock"))
        async with ClientSession(connector=connector, timeout=ClientTimeout(PATIENCE_S)) as admin:
            answers = [await answers_to(question, admin, daemon.store, rounds) for question in questions(logged)]
        return answers, [command_ms(daemon.config, logged.receipt) for _ in range(rounds)]


async def answers_to(question: Question, admin: ClientSession, store: Path, rounds: int) -> Answers:
    drop_from_cache(store)
    cold_ms = await ask_ms(question, admin)
    await ask_ms(question, admin)
    return Answers(question=question, warm_ms=[await ask_ms(question, admin) for _ in range(rounds)], cold_ms=cold_ms)


async def ask_ms(question: Question, admin: ClientSession) -> float:
    """Raises Failed where the answer is not the right one."""
    began_s = time.perf_counter()
    async with admin.get(f"http://localhost/trace?{question.query}") as answer:
        body = await answer.read()
    took_ms = (time.perf_counter() - began_s) * 1000
    if answer.status != 200 or not is_right(question, msgspec.json.decode(body, type=Traced)):
        raise Failed(f"a trace {question.what} was answered by {answer.status}: {body[:500]!r}")
    return took_ms


def is_right(question: Question, traced: Traced) -> bool:
    """All stories are there, each whole, from the first request to the delivery."""
    return len(traced.stories) == question.stories and all(
        story.state == "delivered" and sum(step.what == "sent" for step in story.steps) == question.requests
        for story in traced.stories
    )


def command_ms(config: Path, receipt: str) -> float:
    """The whole of `cio-buffer trace RECEIPT`, from its exec to its end."""
    command = [sys.executable, "-m", "cio_buffer", "trace", receipt, "--config", str(config)]
    began_s = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began_s) * 1000


def drop_from_cache(store: Path) -> None:
    """Have the kernel forget what it holds of the store's file; other files, and other processes, keep theirs."""
    os.sync()
    fd = os.open(store, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
