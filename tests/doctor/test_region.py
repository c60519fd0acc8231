"""What Customer.io's answer about the region says of key, region and the way there."""

import pytest

from cio_buffer.clock import SystemClock
from cio_buffer.doctor.region import ask, judge_region
from cio_buffer.sandbox import Faults, Ledger, Sandbox
from cio_buffer.upstream.transport import Reply
from cio_buffer.upstream.troubles import TROUBLES

URL = "https://track.customer.io"
US, EU = b'{"url":"https://track.customer.io","region":"us","environment_id":3}', b'{"region":"eu"}'


def judge(reply, region="us", is_own_url=False):
    return judge_region(reply, url=URL, region=region, is_own_url=is_own_url)


@pytest.mark.parametrize(
    ("reply", "region", "is_own_url", "state"),
    [
        (Reply(status=200, body=US), "us", False, "ok"),
        (Reply(status=200, body=US), "eu", False, "failed"),
        (Reply(status=200, body=EU), "us", False, "failed"),
        (Reply(status=200, body=EU), "us", True, "ok"),  # a track_url of one's own beats the region
        (Reply(status=200, body=b'{"region":"mars\\u001b[31m"}'), "us", False, "failed"),
        (Reply(status=200, body=b"<html>"), "us", False, "failed"),
        (Reply(status=200, body=b"{}"), "us", False, "failed"),
    ],
)
def test_the_workspace_lives_where_the_config_says(reply, region, is_own_url, state):
    judged = judge(reply, region, is_own_url)
    assert (judged.name, judged.state) == ("upstream", state)
    assert "\x1b" not in judged.seen


def test_a_wrong_region_says_which_one_is_right():
    judged = judge(Reply(status=200, body=EU))
    assert 'upstream.region = "eu"' in judged.fix


@pytest.mark.parametrize(
    ("reply", "word", "state"),
    [
        (Reply(status=401), "credentials_rejected", "failed"),
        (Reply(status=400), "credentials_rejected", "failed"),
        (Reply(status=403), "forbidden", "failed"),
        (Reply(status=404), "not_found", "failed"),
        (Reply(status=301), "redirected", "failed"),
        (Reply(status=204), "not_customer_io", "failed"),
        (Reply(status=418), "not_customer_io", "failed"),
        (Reply(status=429), "throttled", "warning"),
        (Reply(status=503), "unavailable", "warning"),
        (Reply(trouble="dns"), "dns", "failed"),
        (Reply(trouble="tls"), "tls", "failed"),
        (Reply(trouble="connect"), "connect", "failed"),
        (Reply(trouble="timeout"), "timeout", "failed"),
        (Reply(trouble="torn"), "torn", "failed"),
        (Reply(), "torn", "failed"),
    ],
)
def test_each_trouble_is_explained_in_the_words_of_the_status(reply, word, state):
    judged = judge(reply)
    assert (judged.state, judged.fix) == (state, TROUBLES[word].hint)
    assert word in judged.seen


async def test_the_question_is_asked_with_the_key_and_never_shows_it():
    clock = SystemClock()
    sandbox = Sandbox(clock, Faults(clock), Ledger())
    url = await sandbox.start()
    try:
        reply = await ask(url, site_id="site", api_key="sup3rsecret", connect_timeout_s=5, request_timeout_s=5)
    finally:
        await sandbox.stop()
    judged = judge_region(reply, url=url, region="us", is_own_url=True)
    assert judged.state == "ok"
    assert "sup3rsecret" not in judged.seen


async def test_where_nobody_is_nobody_answers():
    reply = await ask("http://127.0.0.1:9", site_id="s", api_key="k", connect_timeout_s=1, request_timeout_s=1)
    assert judge(reply).state == "failed"
