"""The Track API key comes in exactly one of four ways, and is never shown."""

from pathlib import Path

import msgspec
import pytest

from cio_buffer.config import ConfigError, Secret, load, render

SITE = {"CIO_BUFFER__UPSTREAM__SITE_ID": "site"}
UPSTREAM = "CIO_BUFFER__UPSTREAM__"
KEY = "k3y-of-ours"


def key(environ: dict[str, str]) -> str:
    return load(None, SITE | environ).upstream.track_api_key.reveal()


def problem(environ: dict[str, str]):
    with pytest.raises(ConfigError) as caught:
        load(None, SITE | environ)
    [only] = caught.value.problems
    assert KEY not in render([only])
    return only


def written(folder: Path, name: str, content: str = KEY + "\n") -> str:
    (folder / name).write_text(content)
    return str(folder / name)


def test_from_the_default_credential(tmp_path):
    written(tmp_path, "track_api_key")
    assert key({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == KEY


def test_from_a_credential_of_another_name(tmp_path):
    written(tmp_path, "brand")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), UPSTREAM + "TRACK_API_KEY_CREDENTIAL": "brand"}
    assert key(environ) == KEY


@pytest.mark.parametrize("content", [KEY, KEY + "\n", KEY + "\r\n"])
def test_from_a_file_without_its_line_ending(tmp_path, content):
    assert key({UPSTREAM + "TRACK_API_KEY_FILE": written(tmp_path, "key", content)}) == KEY


def test_from_a_variable():
    assert key({UPSTREAM + "TRACK_API_KEY_ENV": "TRACK", "TRACK": KEY}) == KEY


@pytest.mark.parametrize("url", ["http://127.0.0.1:8248", "http://localhost", "http://[::1]:1/", "https://127.0.0.1"])
def test_as_a_literal_when_nothing_leaves_the_machine(url):
    assert key({UPSTREAM + "TRACK_API_KEY": KEY, UPSTREAM + "TRACK_URL": url}) == KEY


@pytest.mark.parametrize("url", ["", "https://track.example.com"])
def test_a_literal_is_refused_when_something_does(url):
    refused = problem({UPSTREAM + "TRACK_API_KEY": KEY, UPSTREAM + "TRACK_URL": url})
    assert refused.where == UPSTREAM + "TRACK_API_KEY"


def test_another_form_puts_the_default_credential_aside(tmp_path):
    written(tmp_path, "track_api_key", "another")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), UPSTREAM + "TRACK_API_KEY_ENV": "TRACK", "TRACK": KEY}
    assert key(environ) == KEY


def test_two_forms_are_a_problem(tmp_path):
    environ = {UPSTREAM + "TRACK_API_KEY_FILE": written(tmp_path, "key"), UPSTREAM + "TRACK_API_KEY_CREDENTIAL": "a"}
    assert "2 ways" in problem(environ).what


@pytest.mark.parametrize("content", ["", "\n", "two\nlines", "a b", '"k\u00e9y"'])
def test_a_file_without_a_key_is_a_problem(tmp_path, content):
    assert problem({UPSTREAM + "TRACK_API_KEY_FILE": written(tmp_path, "key", content)})


def test_what_cannot_be_read_is_a_problem_at_the_key_that_names_it(tmp_path):
    for path in (str(tmp_path), str(tmp_path / "none"), KEY):
        assert problem({UPSTREAM + "TRACK_API_KEY_FILE": path}).where == UPSTREAM + "TRACK_API_KEY_FILE"
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    assert "not text" in problem({UPSTREAM + "TRACK_API_KEY_FILE": str(tmp_path / "bytes")}).what
    assert problem({"CREDENTIALS_DIRECTORY": str(tmp_path)})


@pytest.mark.parametrize("environ", [{}, {"TRACK": ""}])
def test_a_variable_that_is_not_there_or_empty_is_a_problem(environ):
    assert problem({UPSTREAM + "TRACK_API_KEY_ENV": "TRACK", **environ})


def test_a_key_pasted_into_the_wrong_place_is_not_repeated():
    for form in ("ENV", "CREDENTIAL", "FILE"):
        assert problem({f"{UPSTREAM}TRACK_API_KEY_{form}": KEY})
    assert problem({f"{UPSTREAM}TRACK_API_KEY_CREDENTIAL": f"{KEY}/x"})


@pytest.mark.parametrize("environ", [{}, {UPSTREAM + "TRACK_API_KEY_CREDENTIAL": ""}])
def test_no_key_at_all_is_a_problem_that_says_what_to_set(environ):
    assert problem(environ).what.startswith("there is no Track API key: no form of it is set")
    assert "track_api_key_file" in problem(environ).fix


def test_nothing_shows_a_secret():
    config = load(None, SITE | {UPSTREAM + "TRACK_API_KEY_ENV": "TRACK", "TRACK": KEY})
    secret = config.upstream.track_api_key
    assert KEY not in f"{config} {config!r} {secret} {secret!r} {[secret]}"
    with pytest.raises(TypeError):
        msgspec.json.encode(config)


def test_secrets_compare_by_what_they_hold():
    assert Secret("a") == Secret("a")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("a") != "a"
    assert not Secret("")
