"""The lines that README.md tells people to type are run as they stand there, but for the addresses."""

import asyncio
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import Struct

from cio_buffer.sandbox import Sandbox
from tests.sdk import nodejs
from tests.sdk.readme import Block, block, blocks
from tests.sdk.roads import daemon_before, sandbox
from tests.support.process import Daemon, clean_environ

SITE_ID, LOCAL_KEY = "SITE_ID", "KEY"
"""As printed. The workspace's own keys are others: what is run shows that the local key stands for both."""

TRACK_KEY, APP_KEY = "the-Track-API-key", "the-App-API-key"
FROM_SOURCES = {"ruby", "go", "php"}
PROXIED = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"), "http://127.0.0.1:9")
PROXIED |= {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
PATIENCE_S = 30.0
PURCHASED = ("event", "purchased")


class Ways(Struct):
    """The daemon, set up as the README says, and where it is; `upstream` shows what arrived."""

    daemon: Daemon
    upstream: Sandbox
    places: dict[str, object]

    async def run(self, block: Block, *command: object, cwd: Path | None = None, **environ: str) -> None:
        """Run the block as printed, from the standard input of `command`. Raises AssertionError where it fails.

        There is a proxy that answers nothing, and `NO_PROXY` as the README has it.
        """
        environ = clean_environ() | PROXIED | environ
        process = await asyncio.create_subprocess_exec(
            *map(str, command),
            cwd=cwd,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                said, _ = await process.communicate(block.at(self.places).encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, f"{block.text}\nended with {process.returncode}:\n{said.decode()}"

    async def arrived(self) -> tuple[list[tuple[str, str]], list[str]]:
        """What came of it at Customer.io: operations, as (kind, name), and App API calls."""
        await self.daemon.until_empty()
        operations = [(one.kind, str(one.body.get("name"))) for one in self.upstream.ledger.in_effect()]
        return operations, [f"{one.method} {one.path} {one.status}" for one in self.upstream.app_ledger.requests]


@pytest.fixture
async def ways(folder: Path) -> AsyncIterator[Ways]:
    files = {"/etc/cio-buffer": folder, "127.0.0.1:8256": "127.0.0.1:0"}
    subprocess.run(["bash", "-ec", block("sh", "openssl").at(files)], check=True, capture_output=True)  # noqa: ASYNC221
    listen = tomllib.loads(block("toml", "https_address").at(files))["listen"]
    keys = {"UPSTREAM__SITE_ID": SITE_ID, "UPSTREAM__TRACK_API_KEY": TRACK_KEY, "UPSTREAM__APP_API_KEY": APP_KEY}
    settings = keys | {"LISTEN__LOCAL_KEY": LOCAL_KEY} | {f"LISTEN__{name.upper()}": listen[name] for name in listen}
    upstream = sandbox(site_id=SITE_ID, track_key=TRACK_KEY, app_key=APP_KEY)
    url = await upstream.start()
    try:
        environ = {f"CIO_BUFFER__{name}": value for name, value in settings.items()}
        async with daemon_before(url, folder, environ) as daemon:
            doors = {place.partition(":")[0]: place for place in (await daemon.status())["listening"]}
            places = {
                "127.0.0.1:8246": doors["http"].removeprefix("http://"),
                "port=8256": f"port={doors['https'].rpartition(':')[2]}",
                "/run/cio-buffer/api.sock": folder / "api.sock",
                "/etc/cio-buffer": folder,
            }
            yield Ways(daemon, upstream, places)
    finally:
        await upstream.stop()


RUN = {
    ("python", "the constructor knows https only"): ([PURCHASED], ["POST /v1/send/sms 200"]),
    ("python", "class Local"): ([PURCHASED], []),
    ("python", "class UnixAdapter"): ([PURCHASED], []),
    ("python", "asyncio.run"): ([PURCHASED, ("event", "purchased by the socket")], ["GET /v1/segments 200"]),
    ("python", "port=8256"): ([PURCHASED, PURCHASED], []),
    ("js", "APIClient"): ([PURCHASED], ["GET /v1/segments 200"]),
    ("js", "socketPath"): ([PURCHASED], []),
    ("sh", "curl"): ([PURCHASED, PURCHASED], []),
}
"""Each block, by its language and some words of it, and what is to arrive when it is run."""


def test_no_block_is_forgotten() -> None:
    run = {block(*of) for of in RUN} | {block("sh", "openssl"), block("toml", "https_address")}
    assert {one for one in blocks() if one.language not in FROM_SOURCES} == run


@pytest.mark.parametrize("of", RUN, ids=": ".join)
async def test_a_block_does_what_it_says(ways: Ways, folder: Path, installed_node: None, of: tuple[str, str]) -> None:
    language, words = of
    match language:
        case "python":
            trust = {"REQUESTS_CA_BUNDLE": str(folder / "tls.crt")} if "port" in words else {}
            await ways.run(block(*of), sys.executable, "-", **trust)
        case "js":
            await ways.run(block(*of), nodejs.NODE, "--input-type=module", cwd=nodejs.HERE)
        case "sh":
            await ways.run(block(*of), "bash", "-e")
    assert await ways.arrived() == RUN[of]
