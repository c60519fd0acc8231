"""One request in, one answer out: reads it, lets the script interfere, changes the workspace, writes the ledger.

All of it happens at once, without waiting, so the order of the ledger is the order in which requests were received.
"""

import msgspec

from cio_buffer.clock import Clock
from cio_buffer.sandbox import answers, track_answers
from cio_buffer.sandbox.answers import Answer
from cio_buffer.sandbox.credentials import Credentials
from cio_buffer.sandbox.effects import Asked, Problem
from cio_buffer.sandbox.faults import Faults
from cio_buffer.sandbox.ledger import Ledger, Outcome
from cio_buffer.sandbox.track_answers import Shape
from cio_buffer.sandbox.track_v1 import find_route, read_request
from cio_buffer.sandbox.track_v2 import BATCH_LIMIT_BYTES, Malformed, read_batch, read_entity
from cio_buffer.sandbox.trouble import AnswerWith, Block, LoseAnswer, Refuse, Tear, Trouble
from cio_buffer.sandbox.workspace import Workspace

_REFUSED_BY_SCRIPT = Problem(reason="invalid", field="operation", message="refused by script")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came off the wire. `path` is raw, with its query."""

    method: str
    path: str
    body: bytes
    authorization: str | None = None
    content_type: str = ""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A call, understood: its operations and how their answer is shaped; `instead` answers it without any of them."""

    asked: tuple[Asked, ...] = ()
    shape: Shape = "v1"
    instead: Answer | None = None
    needs_credentials: bool = True


class TrackApi:
    """The Track API without a network. `manual_segments` None means that every segment exists."""

    def __init__(
        self,
        *,
        clock: Clock,
        faults: Faults,
        ledger: Ledger,
        workspace: Workspace,
        credentials: Credentials,
        manual_segments: frozenset[int] | None,
    ) -> None:
        self._clock = clock
        self._faults = faults
        self._ledger = ledger
        self._workspace = workspace
        self.credentials = credentials
        self._manual_segments = manual_segments

    def answer(self, call: Call) -> Answer:
        """Process the call and say what its sender gets."""
        trouble = self._faults.take(call.path)
        at = self._clock.now()
        answer, operations = self._judge(call, self._read(call), trouble, at)
        self._ledger.record(
            operations,
            at=at,
            method=call.method,
            path=call.path,
            status=answer.status,
            body_bytes=len(call.body),
        )
        return answers.befallen_by(trouble, answer)

    def _judge(
        self, call: Call, reading: Reading, trouble: Trouble, at: float
    ) -> tuple[Answer, list[tuple[Asked, Outcome]]]:
        match trouble.ending:
            case Tear():
                return answers.DROPPED, _all(reading, "faulted")
            case AnswerWith(is_processed=False) as scripted:
                return answers.scripted(scripted), _all(reading, "faulted")
        if block := _block(reading, trouble.blocks):
            return _blocked(block), _all(reading, "faulted")
        answer, operations = self._process(call, reading, trouble.refusals, at)
        match trouble.ending:
            case LoseAnswer():
                return answers.DROPPED, _untold(operations)
            case AnswerWith() as scripted:
                return answers.scripted(scripted), _untold(operations)
        return answer, operations

    def _process(
        self, call: Call, reading: Reading, refusals: tuple[Refuse, ...], at: float
    ) -> tuple[Answer, list[tuple[Asked, Outcome]]]:
        if reading.needs_credentials and not self.credentials.admit(call.authorization):
            return track_answers.UNAUTHORIZED, []
        if reading.instead is not None:
            return reading.instead, []
        for refusal in refusals:
            concerned = [refusal.concerns(asked.body) for asked in reading.asked]
            if refusal.mode == "operation":
                reading = _with_problems(reading, concerned)
            elif any(concerned):
                return _whole_refusal(reading, refusal), _all(reading, "refused")
        answer = track_answers.judged(reading.asked, reading.shape)
        return answer, [(asked, self._apply(asked, at)) for asked in reading.asked]

    def _apply(self, asked: Asked, at: float) -> Outcome:
        if asked.problems:
            return "refused"
        return "taken" if self._workspace.apply(asked.effects, at=at) else "duplicate"

    def _read(self, call: Call) -> Reading:
        path, _, query = call.path.partition("?")
        match call.method, path:
            case "GET", "/api/v1/accounts/region":
                return Reading(instead=track_answers.REGION)
            case "POST", "/api/v2/entity":
                return _read_entity(call.body)
            case "POST", "/api/v2/batch":
                return _read_batch(call.body)
        found = find_route(call.method, path)
        if found is None:
            return Reading(instead=track_answers.NO_SUCH_CALL, needs_credentials=False)
        route, named = found
        asked = read_request(
            route,
            named,
            call.body,
            query=query,
            content_type=call.content_type,
            manual_segments=self._manual_segments,
        )
        return Reading(asked=(asked,), shape=route.shape, needs_credentials=route.needs_credentials)


def _read_entity(body: bytes) -> Reading:
    try:
        return Reading(asked=(read_entity(body),), shape="v2_entity")
    except Malformed as whole:
        return Reading(shape="v2_entity", instead=track_answers.malformed([whole.problem], "v2_entity"))


def _read_batch(body: bytes) -> Reading:
    if len(body) >= BATCH_LIMIT_BYTES:
        return Reading(shape="v2_batch", instead=answers.TOO_LARGE)
    try:
        return Reading(asked=read_batch(body), shape="v2_batch")
    except Malformed as whole:
        return Reading(shape="v2_batch", instead=track_answers.malformed([whole.problem], "v2_batch"))


def _all(reading: Reading, outcome: Outcome) -> list[tuple[Asked, Outcome]]:
    return [(asked, outcome) for asked in reading.asked]


def _untold(operations: list[tuple[Asked, Outcome]]) -> list[tuple[Asked, Outcome]]:
    """What was processed, where the sender does not hear of it."""
    return [(asked, "lost_answer" if was == "taken" else was) for asked, was in operations]


def _block(reading: Reading, blocks: tuple[Block, ...]) -> Block | None:
    """The first block that one of the operations meets."""
    return next((block for block in blocks if any(block.concerns(asked.body) for asked in reading.asked)), None)


def _blocked(block: Block) -> Answer:
    return answers.DROPPED if block.answer is None else answers.scripted(block.answer)


def _with_problems(reading: Reading, concerned: list[bool]) -> Reading:
    asked = tuple(
        msgspec.structs.replace(one, problems=(*one.problems, _REFUSED_BY_SCRIPT)) if is_refused else one
        for one, is_refused in zip(reading.asked, concerned, strict=True)
    )
    return msgspec.structs.replace(reading, asked=asked)


def _whole_refusal(reading: Reading, refusal: Refuse) -> Answer:
    if refusal.mode == "whole_batch_413":
        return answers.TOO_LARGE
    return track_answers.malformed([_REFUSED_BY_SCRIPT], reading.shape)
