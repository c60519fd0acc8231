"""SIGHUP, without the signal: what is taken, what is refused, and what is said of it."""

import asyncio

import msgspec
import pytest
import structlog
from structlog.testing import LogCapture

from cio_buffer.config import Config, ConfigError, Problem, Secret
from cio_buffer.reload import RESTART, Reload


def config(key="old", local_key="", rate=100.0, **upstream):
    empty = Config()
    return (
        Config(
            listen=msgspec.structs.replace(empty.listen, local_key=Secret(local_key)),
            upstream=msgspec.structs.replace(empty.upstream, site_id="site", track_api_key=Secret(key)),
            drain=msgspec.structs.replace(empty.drain, rate_max_per_s=rate),
        )
        if not upstream
        else msgspec.structs.replace(
            config(key, local_key, rate),
            upstream=msgspec.structs.replace(config(key).upstream, **upstream),
        )
    )


class World:
    """A daemon that runs with the key "old", and what its config says when it is read again."""

    def __init__(self):
        self.sources = []
        self.used = []
        self.asked = asyncio.Event()
        said = LogCapture()
        self.said = said.entries
        self.reload = Reload(
            config(),
            load_again=self.load_again,
            use_keys=lambda anew: self.used.append(anew.upstream.track_api_key.reveal()),
            asked=self.asked,
            logger=structlog.wrap_logger(structlog.PrintLogger(), processors=[said]),
        )

    def load_again(self):
        source = self.sources.pop(0)
        if isinstance(source, Exception):
            raise source
        return source

    async def reads(self, source):
        """Have it read this; returns the line that it logs."""
        self.sources.append(source)
        await self.reload.step()
        assert "k3y" not in str(self.said)
        return self.said[-1]


@pytest.fixture
def world():
    return World()


async def test_another_key_is_used_and_told_by_its_name(world):
    line = await world.reads(config("k3y"))
    assert world.used == ["k3y"]
    assert (line["log_level"], line["event"]) == ("info", "config.reloaded")
    assert (line["keys"], line["needs_restart"], line["hint"]) == (["upstream.track_api_key"], [], "")


async def test_what_else_differs_waits_for_a_restart(world):
    line = await world.reads(config("k3y", rate=5.0))
    assert world.used == ["k3y"]
    assert (line["keys"], line["needs_restart"]) == (["upstream.track_api_key"], ["drain.rate_max_per_s"])
    assert line["hint"] == RESTART
    line = await world.reads(config("k3y", local_key="k3y-2", rate=5.0))
    assert line["keys"] == ["listen.local_key"]  # since the last time
    assert line["needs_restart"] == ["drain.rate_max_per_s"]  # since the start: it still does not run with it


async def test_the_same_keys_again_are_tried_at_once_all_the_same(world):
    line = await world.reads(config("old"))
    assert world.used == ["old"]
    assert (line["event"], line["keys"]) == ("config.reloaded", [])
    assert "systemd credential" in line["hint"]


async def test_a_bad_file_changes_nothing_and_says_what_is_wrong(world):
    mistakes = [Problem(what=f"mistake {n}", where=f"config.toml, line {n}", why="", fix="mend it") for n in (1, 2)]
    line = await world.reads(ConfigError(mistakes))
    assert world.used == []
    assert (line["log_level"], line["event"]) == ("error", "config.reload_refused")
    assert (line["problems"], line["problem"], line["where"]) == (2, "mistake 1", "config.toml, line 1")
    assert line["hint"] == "mend it"
    assert (await world.reads(config("k3y")))["event"] == "config.reloaded"


@pytest.mark.parametrize(
    "elsewhere", [{"site_id": "another"}, {"region": "eu"}, {"track_url": "https://x.example"}], ids=str
)
async def test_keys_of_another_workspace_are_not_shown_to_this_one(world, elsewhere):
    line = await world.reads(config("k3y", **elsewhere))
    assert world.used == []
    assert (line["event"], line["problems"]) == ("config.reload_refused", 1)
    assert (line["where"], line["hint"]) == (f"upstream.{next(iter(elsewhere))}", RESTART)


async def test_it_is_read_when_asked_for_and_once_for_many_who_ask_at_once(world):
    running = asyncio.ensure_future(world.reload.run())
    world.sources = [config("k3y"), config("k3y-2")]
    for expected in (["k3y"], ["k3y", "k3y-2"]):
        for _ in range(5):
            world.asked.set()
        while world.used != expected:
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not world.asked.is_set()
