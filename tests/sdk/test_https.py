"""The https door, with the certificate that README.md says how to make: for an SDK that speaks nothing else."""

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from customerio import CustomerIO, CustomerIOException

from tests.sdk.readme import block
from tests.sdk.roads import Roads, two_roads
from tests.sdk.story import tell
from tests.sdk.test_python import STORY, caller, local
from tests.support.process import SITE_ID, TRACK_KEY

OURS = "REQUESTS_CA_BUNDLE"
TRUST = (OURS, "CURL_CA_BUNDLE", "SSL_CERT_FILE")


@pytest.fixture
def certificate(folder: Path) -> Path:
    made = subprocess.run(
        ["bash", "-ec", block("sh", "openssl").at({"/etc/cio-buffer": folder})],
        check=False,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    return folder / "tls.crt"


@pytest.fixture
async def roads(folder: Path, certificate: Path) -> AsyncIterator[Roads]:
    listen = {
        "CIO_BUFFER__LISTEN__HTTPS_ADDRESS": "127.0.0.1:0",
        "CIO_BUFFER__LISTEN__TLS_CERT_FILE": str(certificate),
        "CIO_BUFFER__LISTEN__TLS_KEY_FILE": str(certificate.with_suffix(".key")),
    }
    async with two_roads(folder, listen) as roads:
        yield roads


@pytest.fixture(autouse=True)
def trusting_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TRUST:
        monkeypatch.delenv(name, raising=False)


async def unmodified(roads: Roads) -> CustomerIO:
    """The SDK, told nothing but where."""
    return CustomerIO(SITE_ID, TRACK_KEY, host="localhost", port=urlsplit(await roads.door("https")).port)


async def test_python_needs_no_change_of_code_for_any_method(
    roads: Roads, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OURS, str(certificate))
    with await unmodified(roads) as through, local(roads.straight_url) as straight:
        await tell(STORY, roads, by_us=caller(through), straight=caller(straight))


async def test_an_app_may_trust_the_certificate_for_this_client_alone(roads: Roads, certificate: Path) -> None:
    with await unmodified(roads) as cio:
        cio.http.verify = str(certificate)
        await asyncio.to_thread(cio.track, 5, "came")
    assert (await roads.daemon.until_empty())["ledger"]["delivered"] == 1


async def test_without_trust_in_the_certificate_nothing_is_sent(roads: Roads) -> None:
    with await unmodified(roads) as cio, pytest.raises(CustomerIOException, match="CERTIFICATE_VERIFY_FAILED"):
        await asyncio.to_thread(cio.track, 5, "came")
    assert (await roads.daemon.status())["ledger"]["accepted"] == 0


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
async def test_the_certificate_holds_for_both_names_and_for_strict_eyes(
    roads: Roads, certificate: Path, name: str
) -> None:
    """From Python 3.13 on every client is as strict as this."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    port = urlsplit(await roads.door("https")).port

    def shake_hands() -> str | None:
        with (
            socket.create_connection(("127.0.0.1", port)) as sock,
            context.wrap_socket(sock, server_hostname=name) as tls,
        ):
            return tls.version()

    assert await asyncio.to_thread(shake_hands) == "TLSv1.3"
