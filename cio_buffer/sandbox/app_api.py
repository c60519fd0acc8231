"""The App API: one request in, one answer out, at once and without waiting.

It knows sends and broadcasts. Of the many other calls it takes any, and says nothing that would depend on them.
"""

from cio_buffer.clock import Clock
from cio_buffer.sandbox import answers, app_answers
from cio_buffer.sandbox.answers import Answer
from cio_buffer.sandbox.app_calls import AppCall
from cio_buffer.sandbox.app_ledger import AppLedger
from cio_buffer.sandbox.credentials import AppCredentials
from cio_buffer.sandbox.faults import Faults
from cio_buffer.sandbox.fields import Fields, parse
from cio_buffer.sandbox.identities import path_segments
from cio_buffer.sandbox.sends import ATTACHMENTS_MAX_BYTES, CHANNELS, attachments_bytes, check_send
from cio_buffer.sandbox.trouble import AnswerWith, Block, LoseAnswer, Refuse, Tear, Trouble

APP_PREFIX = "/v1/"
_AUDIENCES = ("recipients", "emails", "ids", "per_user_data", "data_file_url")


class AppApi:
    """The App API without a network."""

    def __init__(self, *, clock: Clock, faults: Faults, ledger: AppLedger, credentials: AppCredentials) -> None:
        self._clock = clock
        self._faults = faults
        self._ledger = ledger
        self._credentials = credentials
        self._messages_total = 0
        self._broadcasts_total = 0

    def answer(self, call: AppCall) -> Answer:
        """Process the call and say what its sender gets. One that its sender tore uses up no fault."""
        trouble = Trouble() if call.extent == "torn" else self._faults.take(call.path)
        at = self._clock.now()
        answer = self._judge(call, trouble, at)
        self._ledger.record(call, at=at, status=answer.status)
        return answers.befallen_by(trouble, answer)

    def _judge(self, call: AppCall, trouble: Trouble, at: float) -> Answer:
        match trouble.ending:
            case Tear():
                return answers.DROPPED
            case AnswerWith(is_processed=False) as script:
                return answers.scripted(script)
        answer = self._process(call, (*trouble.blocks, *trouble.refusals), at)
        match trouble.ending:
            case LoseAnswer():
                return answers.DROPPED
            case AnswerWith() as script:
                return answers.scripted(script)
        return answer

    def _process(self, call: AppCall, refusals: tuple[Block | Refuse, ...], at: float) -> Answer:
        if call.extent != "whole":
            return answers.DROPPED if call.extent == "torn" else answers.TOO_LARGE
        if not self._credentials.admit(call.header("Authorization"), call.header("X-Workspace-Id")):
            return app_answers.UNAUTHORIZED
        match call.method, path_segments(call.path.partition("?")[0]):
            case "POST", ("v1", "send", channel) if channel in CHANNELS:
                fields = parse(call.body)
                return _refusal(fields, refusals) or self._send(channel, fields, at)
            case "POST", ("v1", "campaigns", _, "triggers"):
                fields = parse(call.body or b"{}")
                return _refusal(fields, refusals) or self._trigger(fields)
            case _, ("v1", "send"):
                return app_answers.NO_SUCH_CALL
        return app_answers.DONE

    def _send(self, channel: str, fields: Fields, at: float) -> Answer:
        check_send(channel, fields)
        attached_bytes = attachments_bytes(fields) if channel == "email" else 0
        send_at = fields.seconds("send_at")
        if fields.problems:
            return app_answers.refused(fields.problems[0].message)
        if attached_bytes > ATTACHMENTS_MAX_BYTES:
            return answers.TOO_LARGE
        self._messages_total += 1
        later = send_at if send_at is not None and send_at > at else None
        return app_answers.queued(f"delivery-{self._messages_total}", queued_at=int(at), send_at=later)

    def _trigger(self, fields: Fields) -> Answer:
        # The Go library writes "no audience" as an empty `recipients`.
        audiences = [name for name in _AUDIENCES if fields.values.get(name) not in (None, {})]
        if fields.problems:
            return app_answers.refused(fields.problems[0].message)
        if len(audiences) > 1:
            return app_answers.unprocessable(audiences[1], f"{audiences[1]} does not go with {audiences[0]}")
        self._broadcasts_total += 1
        return app_answers.triggered(self._broadcasts_total)


def _refusal(fields: Fields, refusals: tuple[Block | Refuse, ...]) -> Answer | None:
    """The answer when the script calls the message invalid, or blocks it."""
    for refusal in refusals:
        if refusal.concerns(dict(fields.values)):
            if isinstance(refusal, Block):
                return answers.DROPPED if refusal.answer is None else answers.scripted(refusal.answer)
            is_too_large = refusal.mode == "whole_batch_413"
            return answers.TOO_LARGE if is_too_large else app_answers.refused("refused by script")
    return None
