"""What can go wrong with a request, and which of it does."""

import random
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import msgspec

from cio_buffer.sandbox.effects import JsonObject

RefusalMode: TypeAlias = Literal["operation", "whole_batch_400", "whole_batch_413"]


class AnswerWith(msgspec.Struct, frozen=True, kw_only=True):
    """Answer this: instead of processing anything, or, where `is_processed`, instead of what came of it."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...]
    is_processed: bool = False


class Tear(msgspec.Struct, frozen=True, kw_only=True):
    """Drop the connection before anything is processed."""


class LoseAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Process, then drop the connection, for this share of the requests."""

    probability: float
    chance: random.Random | None


class Delay(msgspec.Struct, frozen=True, kw_only=True):
    """Process at once, answer late."""

    seconds: float


class Trickle(msgspec.Struct, frozen=True, kw_only=True):
    """Send the answer's body chunked and in pieces, with a pause between them."""

    chunk_bytes: int
    pause_s: float


class BreakOff(msgspec.Struct, frozen=True, kw_only=True):
    """Process, promise an answer, and drop the connection when so much of its body was sent."""

    after_bytes: int


class Refuse(msgspec.Struct, frozen=True, kw_only=True):
    """Call the operations invalid that `concerns` picks."""

    concerns: Callable[[JsonObject], bool]
    mode: RefusalMode


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Answer this to each request that has an operation in it which `concerns` picks, and process nothing of it.

    `answer` None: the connection is dropped instead.
    """

    concerns: Callable[[JsonObject], bool]
    answer: AnswerWith | None


Action: TypeAlias = AnswerWith | Tear | LoseAnswer | Delay | Trickle | BreakOff | Refuse | Block


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One scripted trouble: befalls `requests_left` more requests below `path_prefix`, before the moment `until`."""

    action: Action
    requests_left: int | None
    until: float | None
    path_prefix: str


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """All that is to go wrong with one request: at most one of each kind, but any number of refusals and blocks.

    `ending` says what is answered; `delay`, `trickle` and `break_off` say how the answer goes out, whichever it is.
    """

    ending: AnswerWith | Tear | LoseAnswer | None = None
    delay: Delay | None = None
    trickle: Trickle | None = None
    break_off: BreakOff | None = None
    refusals: tuple[Refuse, ...] = ()
    blocks: tuple[Block, ...] = ()


def decide(
    faults: Sequence[Fault], *, path: str, now: float, rolls: Sequence[float]
) -> tuple[Trouble, tuple[Fault, ...]]:
    """Say what befalls a request for `path`, and which faults remain after it.

    Of several of one kind (two endings, two delays) the one that was set first wins, and only it is used up: a script
    plays in order. `now` is monotonic seconds; `rolls` has a number in [0, 1) for each fault.
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
        case Block():
            return msgspec.structs.replace(trouble, blocks=(*trouble.blocks, action))
        case LoseAnswer() if roll >= action.probability:
            return None
    kind = _kind(action)
    return msgspec.structs.replace(trouble, **{kind: action}) if getattr(trouble, kind) is None else None


def _kind(action: Action) -> str:
    """The field of a Trouble that the action fills."""
    match action:
        case Delay():
            return "delay"
        case Trickle():
            return "trickle"
        case BreakOff():
            return "break_off"
        case _:
            return "ending"
