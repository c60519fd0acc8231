"""Load from `wrk`: v1 events of 20,000 people, one after the other, over connections that stay open."""

import asyncio
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.bench.report import Failed

MISSING = "`wrk`, which makes the load, is not installed: apt-get install wrk (all but accept and memory do without it)"
AFTER_S = 30.0
SAID = "LOAD "
EVENT = {
    "name": "order_completed",
    "timestamp": 1_700_000_000,
    "data": {
        "order_id": "b7f1c2d4-5e6f-4a8b-9c0d-1e2f3a4b5c6d",
        "total": 129.95,
        "currency": "EUR",
        "items": 3,
        "coupon": "SPRING-SALE",
        "channel": "web",
        "page": "https://shop.example.com/checkout/thanks",
    },
}
BODY = json.dumps(EVENT, separators=(",", ":"))

SCRIPT = """\
local people, at, requests = 20000, 0, {}
local headers = {["Content-Type"] = "application/json", ["Authorization"] = "Basic c2l0ZTprZXk="}
local body = [==[%s]==]
local threads = {}

function setup(thread) table.insert(threads, thread) end

function init()
  for person = 1, people do
    requests[person] = wrk.format("POST", "/api/v1/customers/bench-" .. person .. "/events", headers, body)
  end
end

function request()
  at = at %% people + 1
  return requests[at]
end

function done(summary, latency)
  local failed, errors = 0, summary.errors
  for _, thread in ipairs(threads) do failed = failed + (thread:get("others") or 0) end
  failed = failed + errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('\\n%s{"requests":%%d,"failed":%%d,"took_us":%%d,"p50_us":%%d,"p99_us":%%d}\\n',
    summary.requests, failed, summary.duration, latency:percentile(50), latency:percentile(99)))
end
"""
WATCH = """
others = 0
function response(status) if status ~= 200 then others = others + 1 end end
"""
"""Looks at each status, which slows `wrk` down; without it only those above 399 are counted."""


class Load(Struct, frozen=True, kw_only=True):
    """What one run of `wrk` saw."""

    requests: int
    failed: int
    took_us: int
    p50_us: int
    p99_us: int

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.took_us * 1e6


def has_wrk() -> bool:
    return shutil.which("wrk") is not None


async def load(url: str, *, for_s: float, connections: int, is_watched: bool = False) -> Load:
    """Load `url`. Raises Failed unless every answer was 200; to the letter only if `is_watched`."""
    seen = await asyncio.to_thread(run_wrk, url, for_s, connections, is_watched)
    if seen.failed or not seen.requests:
        raise Failed(f"{seen.failed} of {seen.requests} requests to {url} were not answered by a 200")
    return seen


def run_wrk(url: str, for_s: float, connections: int, is_watched: bool) -> Load:
    with tempfile.TemporaryDirectory(prefix="cio-buffer-bench-") as folder:
        script = Path(folder, "events.lua")
        script.write_text(SCRIPT % (BODY, SAID) + (WATCH if is_watched else ""))
        command = ["wrk", "--threads", "1", "--connections", f"{connections}", "--duration", f"{for_s:.0f}s"]
        command += ["--latency", "--script", str(script), url]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=for_s + AFTER_S, check=False)
    said = [line for line in ended.stdout.splitlines() if line.startswith(SAID)]
    if not said:
        raise Failed(f"wrk could not load {url}: {ended.stdout}{ended.stderr}")
    return msgspec.json.decode(said[0].removeprefix(SAID), type=Load)
