"""Scripted trouble: what goes wrong with which request, and until when."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from cio_buffer.clock import Clock
from cio_buffer.sandbox.effects import JsonObject

RefusalMode: TypeAlias = Literal["operation", "whole_batch_400", "whole_batch_413"]


class AnswerWith(msgspec.Struct, frozen=True, kw_only=True):
    """Answer this instead of processing anything."""

    status: int
    body: str
    headers: dict[str, str]


class Tear(msgspec.Struct, frozen=True, kw_only=True):
    """Drop the connection before anything is processed."""


class LoseAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Process, then drop the connection, for this share of the requests."""

    probability: float
    chance: random.Random | None


class Delay(msgspec.Struct, frozen=True, kw_only=True):
    """Process at once, answer late."""

    seconds: float


class Refuse(msgspec.Struct, frozen=True, kw_only=True):
    """Call the operations invalid that `concerns` picks."""

    concerns: Callable[[JsonObject], bool]
    mode: RefusalMode


Action: TypeAlias = AnswerWith | Tear | LoseAnswer | Delay | Refuse


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One scripted trouble: befalls `requests_left` more requests below `path_prefix`, before the moment `until`."""

    action: Action
    requests_left: int | None
    until: float | None
    path_prefix: str


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """All that is to go wrong with one request: at most one `ending`, one delay, any number of refusals."""

    ending: AnswerWith | Tear | LoseAnswer | None = None
    delay: Delay | None = None
    refusals: tuple[Refuse, ...] = ()


def decide(
    faults: Sequence[Fault], *, path: str, now: float, rolls: Sequence[float]
) -> tuple[Trouble, tuple[Fault, ...]]:
    """Say what befalls a request for `path`, and which faults remain after it.

    Of several endings (or delays) the one that was set first wins, and only it is used up: a script plays in order.
    `now` is monotonic seconds; `rolls` has a number in [0, 1) for each fault.
    """
    trouble = Trouble()
    remaining: list[Fault] = []
    for fault, roll in zip(faults, rolls, strict=True):
        if fault.until is not None and now >= fault.until:
            continue
        worse = _add(trouble, fault.action, roll) if path.startswith(fault.path_prefix) else None
        if worse is None:
            remaining.append(fault)
            continue
        trouble = worse
        if fault.requests_left is None:
            remaining.append(fault)
        elif fault.requests_left > 1:
            remaining.append(msgspec.structs.replace(fault, requests_left=fault.requests_left - 1))
    return trouble, tuple(remaining)


def _add(trouble: Trouble, action: Action, roll: float) -> Trouble | None:
    """`trouble` with `action` added, or None when that does not befall this request."""
    match action:
        case Refuse():
            return msgspec.structs.replace(trouble, refusals=(*trouble.refusals, action))
        case Delay():
            return msgspec.structs.replace(trouble, delay=action) if trouble.delay is None else None
        case LoseAnswer() if roll >= action.probability:
            return None
        case _:
            return msgspec.structs.replace(trouble, ending=action) if trouble.ending is None else None


class Faults:
    """The script. Each method adds a fault for `requests` requests or `seconds` seconds, whichever ends first.

    With neither it lasts until `clear`. `path_prefix` narrows it to the paths that begin so.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._active: tuple[Fault, ...] = ()

    def answer(
        self,
        status: int,
        *,
        body: str = "",
        headers: Mapping[str, str] | None = None,
        requests: int | None = None,
        seconds: float | None = None,
        path_prefix: str = "",
    ) -> None:
        """Answer `status` instead of processing. Without a Content-Type among `headers` the body is plain text."""
        self._set(AnswerWith(status=status, body=body, headers=dict(headers or {})), requests, seconds, path_prefix)

    def delay(
        self, latency_s: float, *, requests: int | None = None, seconds: float | None = None, path_prefix: str = ""
    ) -> None:
        """Process at once, but answer `latency_s` later."""
        self._set(Delay(seconds=latency_s), requests, seconds, path_prefix)

    def lose_answers(
        self,
        *,
        probability: float = 1.0,
        chance: random.Random | None = None,
        requests: int | None = None,
        seconds: float | None = None,
        path_prefix: str = "",
    ) -> None:
        """Process, then drop the connection. A `probability` below 1 needs the `chance` to draw from."""
        if probability < 1.0 and chance is None:
            raise ValueError("a probability needs a source of chance")
        self._set(LoseAnswer(probability=probability, chance=chance), requests, seconds, path_prefix)

    def tear(self, *, requests: int | None = None, seconds: float | None = None, path_prefix: str = "") -> None:
        """Drop the connection before anything is processed."""
        self._set(Tear(), requests, seconds, path_prefix)

    def refuse(
        self,
        concerns: Callable[[JsonObject], bool],
        *,
        mode: RefusalMode = "operation",
        requests: int | None = None,
        seconds: float | None = None,
        path_prefix: str = "",
    ) -> None:
        """Call invalid each operation for whose body `concerns` is true.

        Mode "operation": an error in a batch's 207, a 400 elsewhere. The other modes refuse the whole request that has
        such an operation in it, and take nothing in. A request that is looked at counts as one of `requests`.
        """
        self._set(Refuse(concerns=concerns, mode=mode), requests, seconds, path_prefix)

    def clear(self) -> None:
        """End all of them."""
        self._active = ()

    def take(self, path: str) -> Trouble:
        """Say what befalls the request for `path` that has just arrived, and use it up."""
        rolls = [_roll(fault.action) for fault in self._active]
        trouble, self._active = decide(self._active, path=path, now=self._clock.monotonic(), rolls=rolls)
        return trouble

    def _set(self, action: Action, requests: int | None, seconds: float | None, path_prefix: str) -> None:
        until = None if seconds is None else self._clock.monotonic() + seconds
        fault = Fault(action=action, requests_left=requests, until=until, path_prefix=path_prefix)
        self._active = (*self._active, fault)


def _roll(action: Action) -> float:
    return action.chance.random() if isinstance(action, LoseAnswer) and action.chance is not None else 0.0
