"""The document about the local API: valid, true to the real daemon, and the same from every place that gives it."""

import asyncio
import json
import re
import tempfile
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
import schemathesis
from click.testing import CliRunner
from hypothesis import HealthCheck, settings
from openapi_spec_validator import validate
from schemathesis import checks
from schemathesis.specs.openapi import checks as openapi_checks

from cio_buffer.admin.openapi import RECEIPTS, document
from cio_buffer.cli import main
from cio_buffer.clock import SystemClock
from cio_buffer.ingest.routes import V2_BATCH, V2_ENTITY
from cio_buffer.ingest.taken import RECEIPT
from cio_buffer.ingest.track_v1.calls import BY_PATH, OF_A_PERSON, UNDER_A_NAME, UNSUBSCRIBED
from cio_buffer.outbox.names import SEQ_MAX, Names
from cio_buffer.sandbox import Faults, Ledger, Sandbox
from tests.support.process import AUTHORIZATION, Daemon

CREDENTIALS = {"Authorization": AUTHORIZATION}


class Running:
    """The real daemon before a sandbox, in a loop of a thread's own, for what is not asynchronous."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def start(self) -> None:
        self.do(self._start())

    def stop(self) -> None:
        try:
            self.do(self._stop())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _start(self) -> None:
        clock = SystemClock()
        self.sandbox = Sandbox(clock, Faults(clock), Ledger())
        url = await self.sandbox.start()
        self.daemon = Daemon(self._folder, url, environ={"CIO_BUFFER__UPSTREAM__APP_URL": url})
        await self.daemon.__aenter__()
        self.url = await self.daemon.http_url()

    async def _stop(self) -> None:
        await self.daemon.__aexit__()
        await self.sandbox.stop()


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="cio-") as folder:
        running = Running(Path(folder))
        try:
            running.start()
            yield running
            seen = running.do(running.daemon.status())
            assert (seen["state"], seen["outbox"]["order_violations"]) == ("ready", 0)
        finally:
            running.stop()


def test_the_document_is_valid() -> None:
    validate(document())


def test_every_call_that_is_stored_is_answered_with_a_receipt() -> None:
    """And no other: neither a probe, nor asking for the region, nor what is passed on."""
    with_receipts = {
        (method, path, code)
        for path, calls in document()["paths"].items()
        for method, call in calls.items()
        for code, answer in call["responses"].items()
        if RECEIPT in answer.get("headers", {})
    }
    stored = {
        (method, path, "200")
        for path, calls in document()["paths"].items()
        for method, call in calls.items()
        if call["responses"].get("200", {}).get("description") == "It is on disk"
    }
    assert with_receipts == stored | {("post", V2_BATCH, "207")}
    assert len(stored) == len([*OF_A_PERSON, *BY_PATH, *UNDER_A_NAME, UNSUBSCRIBED, V2_ENTITY, V2_BATCH])


@pytest.mark.parametrize("seq", [0, 1, 10**9, SEQ_MAX])
def test_receipts_are_as_the_document_says(seq: int) -> None:
    pattern = re.compile(RECEIPTS["headers"][RECEIPT]["schema"]["pattern"])
    receipt = Names(bytes(16)).receipt(seq, 1_700_000_000_123)
    assert pattern.search(receipt)
    assert pattern.search(f"{receipt}..{receipt}")
    assert not pattern.search(f"{receipt}..")
    assert not pattern.search(receipt[:12])


def test_it_is_given_by_the_command_and_by_the_admin_socket(running: Running) -> None:
    told = CliRunner().invoke(main, ["generate", "openapi"])
    assert (told.exit_code, json.loads(told.output)) == (0, document())
    status, body = running.do(running.daemon.admin("/openapi.json"))
    assert (status, json.loads(body)) == (200, document())


schema = schemathesis.openapi.from_dict(document())


@schema.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_daemon_does_as_the_document_says(case, running: Running) -> None:
    """Whatever is sent, fitting or not: one of the answers in the document, in its shape, and never a 500."""
    answer = case.call(base_url=running.url, headers=CREDENTIALS)
    case.validate_response(
        answer,
        checks=[
            checks.not_a_server_error,
            openapi_checks.status_code_conformance,
            openapi_checks.content_type_conformance,
            openapi_checks.response_schema_conformance,
            openapi_checks.response_headers_conformance,
        ],
    )
    assert answer.status_code != HTTPStatus.INTERNAL_SERVER_ERROR
