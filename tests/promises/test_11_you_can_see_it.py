"""You can see it: what became of an operation is one command, before and after its delivery, and adds up."""

import asyncio
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Any

from tests.promises.apps import (
    Act,
    Apps,
    event,
    flapping,
    identify,
    kill_now_and_then,
    marks_in_effect,
    only_in_v1,
    talking,
)
from tests.promises.conftest import Upstream
from tests.support.process import Daemon

RECEIPT = "X-Cio-Buffer-Receipt"
PEOPLE = [f"person-{n}" for n in range(4)]
PATIENCE_S = 60


async def command(daemon: Daemon, *words: str, said: bytes = b"") -> tuple[int, str, str]:
    """Run `cio-buffer` as an operator would: (exit code, stdout, stderr)."""
    place = str(daemon.folder / "admin.sock")
    run = [sys.executable, "-m", "cio_buffer", *words, "--admin", place]
    done = await asyncio.to_thread(subprocess.run, run, input=said, capture_output=True, timeout=PATIENCE_S)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def stories(daemon: Daemon, *words: str) -> list[dict[str, Any]]:
    code, told, complaint = await command(daemon, "trace", *words, "--json")
    assert code == 0, (words, told, complaint)
    found: list[dict[str, Any]] = json.loads(told)["stories"]
    return found


async def story(daemon: Daemon, *words: str) -> dict[str, Any]:
    (one,) = await stories(daemon, *words)
    return one


def requests_of(told: dict[str, Any]) -> list[dict[str, Any]]:
    return [step["sent"] for step in told["steps"] if step["what"] == "sent"]


async def say(daemon: Daemon, act: Act) -> str:
    """Have it accepted; returns the receipt."""
    receipts = await daemon.receipts("POST", "/api/v2/entity", act.v2)
    assert len(receipts) == 1
    return receipts[0]


async def test_whether_it_left_our_box_is_one_command(daemon: Daemon, upstream: Upstream) -> None:
    receipt = await say(daemon, event("ann", "reset", id="reset-1"))
    await daemon.until_empty()
    told = await story(daemon, receipt)
    (sent,) = requests_of(told)
    assert (told["state"], told["kind"], told["route"]) == ("delivered", "event", "v2 entity")
    assert (sent["status"], sent["outcome"], sent["attempt"], sent["is_ambiguous"]) == (200, "delivered", 1, False)
    for way in (("--person", "id:ann"), ("--event-id", "reset-1")):
        assert await story(daemon, *way) == told
    code, text, _ = await command(daemon, "trace", receipt)
    assert code == 0
    assert receipt in text
    assert "delivered" in text.lower()


async def test_what_waits_says_so_and_why(daemon: Daemon, upstream: Upstream) -> None:
    upstream.faults.answer(503)
    receipt = await say(daemon, event("ann", "waits"))
    await daemon.until(lambda seen: seen["upstream"]["recent"].get("503", 0) >= 3)
    told = await story(daemon, receipt)
    assert told["state"] in ("pending", "in_flight", "held")
    assert {(sent["status"], sent["outcome"]) for sent in requests_of(told)} <= {
        (503, "again"),
        (503, "held"),
        (None, "under_way"),
    }
    upstream.faults.clear()
    await daemon.until_empty()
    told = await story(daemon, receipt)
    assert told["state"] == "delivered"
    assert [sent["attempt"] for sent in requests_of(told)] == [*range(1, len(requests_of(told)) + 1)]


async def test_an_answer_that_was_lost_is_told_as_in_doubt(daemon: Daemon, upstream: Upstream) -> None:
    upstream.faults.lose_answers(requests=1)
    receipt = await say(daemon, event("ann", "lost"))
    await daemon.until_empty()
    first, *_, last = requests_of(await story(daemon, receipt))
    assert (first["is_ambiguous"], first["status"]) == (True, None)
    assert (last["outcome"], last["status"]) == ("delivered", 200)
    _, text, _ = await command(daemon, "trace", receipt)
    assert "may have been taken in" in text


async def test_a_dead_letter_is_listed_explained_mended_and_sent_again_under_its_id(
    daemon: Daemon, upstream: Upstream
) -> None:
    upstream.faults.refuse(lambda body: "poison" in json.dumps(body))
    bad = event("ann", "bad", id="bad-1")
    bad.v2["attributes"]["note"] = "poison"
    receipt = await say(daemon, bad)
    await daemon.until_empty()
    code, told, _ = await command(daemon, "dead", "list", "--json")
    (letter,) = json.loads(told)["dead"]
    assert (code, letter["receipt"], letter["reason"], letter["message"]) == (
        0,
        receipt,
        "refused",
        "refused by script",
    )
    mended = json.dumps(bad.v2 | {"attributes": {"mark": "bad", "note": "cured"}}).encode()
    code, _, complaint = await command(daemon, "dead", "edit", receipt, "--body", "-", said=b'{"type": "person"}')
    assert code == 1, complaint
    code, _, complaint = await command(daemon, "dead", "edit", receipt, "--body", "-", "--replay", said=mended)
    assert code == 0, complaint
    ledger = (await daemon.until_empty())["ledger"]
    assert (ledger["replayed"], ledger["delivered"], ledger["dead_lettered"]) == (1, 1, 1)
    assert ledger["balanced"]
    (arrival,) = upstream.ledger.in_effect()
    assert (arrival.body["id"], arrival.body["attributes"]["note"]) == ("bad-1", "cured")
    told_now = await story(daemon, receipt)
    assert (told_now["state"], told_now["replays"]) == ("delivered", 1)
    assert [sent["outcome"] for sent in requests_of(told_now)] == ["dead", "delivered"]
    whats = [step["what"] for step in told_now["steps"]]
    assert whats.index("edited") < whats.index("replayed")


async def test_an_old_identify_does_not_undo_a_newer_one_unless_it_is_told_to(
    daemon: Daemon, upstream: Upstream
) -> None:
    upstream.faults.refuse(lambda body: "poison" in json.dumps(body))
    old = await say(daemon, identify("ann", "old", plan="poison"))
    await daemon.until_empty()
    await say(daemon, identify("ann", "new", plan="gold"))
    await daemon.until_empty()
    upstream.faults.clear()
    code, told, complaint = await command(daemon, "dead", "replay", old, "--json")
    assert (code, json.loads(told)["overtaken"]) == (1, 1), complaint
    code, _, complaint = await command(daemon, "dead", "replay", old, "--after-newer")
    assert code == 0, complaint
    await daemon.until_empty()
    assert marks_in_effect(upstream) == ["new", "old"]


async def test_thousands_are_replayed_in_order_while_the_daemon_goes_on(
    daemon: Daemon, apps: Apps, upstream: Upstream, chance: random.Random
) -> None:
    upstream.faults.refuse(lambda body: "/bad/" in json.dumps(body))
    bad = [event(PEOPLE[n % 4], f"{PEOPLE[n % 4]}/bad/{n}") for n in range(2_000)]
    for start in range(0, len(bad), 500):
        assert await apps.say(bad[start : start + 500])
    await daemon.until(lambda seen: seen["ledger"]["dead_lettered"] == len(bad))
    upstream.faults.clear()
    code, told, _ = await command(daemon, "dead", "replay", "--all", "--dry-run", "--json")
    assert (code, json.loads(told)["replayed"]) == (0, len(bad))
    streams = [(event(f"other-{app}", f"other-{app}/{n}") for n in count()) for app in range(2)]
    async with talking(apps, streams):
        code, _, complaint = await command(daemon, "dead", "replay", "--all", "--yes")
        assert code == 0, complaint
    ledger = (await daemon.until_empty())["ledger"]
    assert (ledger["replayed"], ledger["balanced"]) == (len(bad), True)
    arrived = marks_in_effect(upstream)
    for person in PEOPLE:
        assert [mark for mark in arrived if mark.startswith(f"{person}/")] == [
            act.mark for act in bad if act.mark.startswith(f"{person}/")
        ]
    assert upstream.ledger.counts["duplicate"] == 0


async def test_what_is_purged_is_counted_and_told(daemon: Daemon, upstream: Upstream) -> None:
    upstream.faults.refuse(lambda body: True)
    receipt = await say(daemon, event("ann", "bad"))
    await daemon.until_empty()
    code, _, complaint = await command(daemon, "dead", "purge", "--all")
    assert code == 2, complaint  # nobody is there to be asked
    code, _, complaint = await command(daemon, "dead", "purge", "--all", "--yes")
    assert code == 0, complaint
    seen = await daemon.status()
    assert (seen["dead_letters"]["count"], seen["dead_letters"]["purged"], seen["ledger"]["balanced"]) == (0, 1, True)
    assert (await story(daemon, receipt))["state"] == "purged"


async def test_a_receipt_that_nobody_gave_is_said_to_be_unknown(daemon: Daemon) -> None:
    receipt = await say(daemon, event("ann", "one"))
    slip = receipt[:-1] + ("0" if receipt[-1] != "0" else "1")
    for unknown in (slip, "nonsense", "0"):
        code, told, complaint = await command(daemon, "trace", unknown)
        assert (code, told) == (1, ""), complaint
        assert complaint


def good_and_bad(person: str) -> Iterator[Act]:
    """Each tenth is one that Customer.io will refuse, each fifth one that leaves alone."""
    for n in count():
        if n % 10 == 9:
            yield event(person, f"{person}/bad/{n}", id=f"{person}/bad/{n}")
        else:
            mark = f"{person}/{n}"
            yield only_in_v1(person, mark) if n % 5 == 0 else event(person, mark, id=mark)


async def test_after_kills_and_troubles_each_story_is_what_customer_io_saw(
    daemon: Daemon, apps: Apps, upstream: Upstream, chance: random.Random
) -> None:
    """Drawn by chance among what was accepted: delivered where it arrived, dead where it was refused."""
    upstream.faults.refuse(lambda body: "/bad/" in json.dumps(body))
    async with flapping(upstream.faults, chance), talking(apps, map(good_and_bad, PEOPLE)):
        upstream.faults.refuse(lambda body: "/bad/" in json.dumps(body))
        await kill_now_and_then(daemon, apps, chance, times=2, words=150)
    upstream.faults.refuse(lambda body: "/bad/" in json.dumps(body))
    seen = await daemon.until_empty()
    assert seen["ledger"]["balanced"]
    arrived = Counter(marks_in_effect(upstream))
    drawn = chance.sample([mark for mark in apps.acknowledged if apps.said[mark].v2], 25)
    for mark in drawn:
        told = await story(daemon, "--event-id", mark)
        is_here = mark in arrived
        assert told["state"] == ("delivered" if is_here else "dead"), (mark, told)
        last = requests_of(told)[-1]
        assert last["outcome"] == told["state"]


async def test_the_story_of_a_bad_day(daemon: Daemon, upstream: Upstream) -> None:
    """Ann's event meets a 429, a lost answer, a batch that is refused for a neighbour's sake, and is halved."""
    upstream.faults.refuse(lambda body: "poison" in json.dumps(body), mode="whole_batch_400")
    upstream.faults.answer(429, headers={"Retry-After": "1"}, requests=1)
    bad = event("bob", "bad")
    bad.v2["attributes"]["note"] = "poison"
    others = [event(f"other-{n}", f"other-{n}") for n in range(6)]
    batch = [bad, event("ann", "ann's"), *others]
    receipts = daemon.receipts("POST", "/api/v2/batch", {"batch": [act.v2 for act in batch]})
    first, _ = await receipts
    await daemon.until(lambda seen: seen["upstream"]["recent"].get("429", 0) == 1)
    upstream.faults.lose_answers(requests=1)
    await daemon.until_empty()

    told = await story(daemon, "--person", "id:ann")
    throttled, lost, *refused, delivered = requests_of(told)
    assert (throttled["status"], throttled["outcome"], throttled["is_ambiguous"]) == (429, "again", False)
    assert (lost["status"], lost["outcome"], lost["is_ambiguous"]) == (None, "again", True)
    assert refused
    assert {(sent["status"], sent["outcome"]) for sent in refused} == {(400, "again")}
    assert [sent["entries"] for sent in refused] == sorted((sent["entries"] for sent in refused), reverse=True)
    assert (delivered["status"], delivered["outcome"]) == (200, "delivered")
    assert told["state"] == "delivered"

    _, text, _ = await command(daemon, "trace", "--person", "id:ann")
    places = [text.index(words) for words in ("accepted by", ": 429", "may have been taken in", ": 400", "Delivered")]
    assert places == sorted(places), text
    culprit = await story(daemon, first)
    assert (culprit["state"], culprit["dead"]["status"]) == ("dead", 400)
    assert marks_in_effect(upstream).count("ann's") == 1


async def test_two_who_replay_the_same_letters_replay_each_once(daemon: Daemon, apps: Apps, upstream: Upstream) -> None:
    upstream.faults.refuse(lambda body: "/bad/" in json.dumps(body))
    assert await apps.say([event(PEOPLE[n % 4], f"{PEOPLE[n % 4]}/bad/{n}") for n in range(400)])
    await daemon.until(lambda seen: seen["ledger"]["dead_lettered"] == 400)
    upstream.faults.clear()
    both = await asyncio.gather(*(command(daemon, "dead", "replay", "--all", "--yes", "--json") for _ in range(2)))
    assert sum(json.loads(told)["replayed"] for _, told, _ in both) == 400
    ledger = (await daemon.until_empty())["ledger"]
    assert (ledger["replayed"], ledger["delivered"], ledger["balanced"]) == (400, 400, True)
    assert upstream.ledger.counts["duplicate"] == 0


async def test_a_replay_that_is_refused_again_dies_again_with_all_of_its_story(
    daemon: Daemon, upstream: Upstream
) -> None:
    upstream.faults.refuse(lambda body: True)
    receipt = await say(daemon, event("ann", "bad"))
    await daemon.until_empty()
    for replays in (1, 2):
        code, _, complaint = await command(daemon, "dead", "replay", receipt)
        assert code == 0, complaint
        await daemon.until(lambda seen, deaths=replays + 1: seen["ledger"]["dead_lettered"] == deaths)
        told = await story(daemon, receipt)
        assert (told["state"], told["replays"]) == ("dead", replays)
        assert [sent["outcome"] for sent in requests_of(told)] == ["dead"] * (replays + 1)
    code, told_by_list, _ = await command(daemon, "dead", "list", "--json")
    (letter,) = json.loads(told_by_list)["dead"]
    assert (code, letter["receipt"], letter["attempts"], letter["replays"]) == (0, receipt, 3, 2)


async def test_filters_that_match_nothing_change_nothing(daemon: Daemon, upstream: Upstream) -> None:
    upstream.faults.refuse(lambda body: True)
    await say(daemon, event("ann", "bad"))
    await daemon.until_empty()
    for filters in (("--reason", "expired"), ("--kind", "identify"), ("--person", "id:bob"), ("--since", "2100-01-01")):
        code, told, complaint = await command(daemon, "dead", "purge", *filters, "--yes", "--json")
        assert (code, json.loads(told)["purged"]) == (0, 0), complaint
    assert (await daemon.status())["dead_letters"]["count"] == 1
