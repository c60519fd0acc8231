"""What all secrets share, and what is true only of those that one can do without."""

from pathlib import Path
from typing import NamedTuple

import pytest

from cio_buffer.config import Config, ConfigError, Secret, load, render
from cio_buffer.config.keys import FIELDS
from cio_buffer.config.secrets import SECRETS

PREFIX = "CIO_BUFFER__"
TRACK = {f"{PREFIX}UPSTREAM__SITE_ID": "site", f"{PREFIX}UPSTREAM__TRACK_API_KEY_ENV": "TRACK", "TRACK": "track-k3y"}
KEY = "k3y-of-ours"
LOCAL = "http://127.0.0.1:8248"
FORMS = ["", "_credential", "_file", "_env"]


class Kept(NamedTuple):
    """Where a secret is configured, said once more by hand: a mistake in the list of secrets shows."""

    section: str
    key: str
    url: str

    def variable(self, form: str = "") -> str:
        return variable(self.section, self.key + form)

    def of(self, config: Config) -> Secret:
        return getattr(getattr(config, self.section), self.key)

    def given(self, form: str, folder: Path, content: str = KEY) -> dict[str, str]:
        """Variables, and perhaps a file, that give `content` in one form."""
        (folder / "secret").write_text(content)
        named = {"": content, "_credential": "secret", "_file": str(folder / "secret"), "_env": "OURS"}[form]
        at_hand = {
            "": {variable("upstream", self.url): LOCAL},
            "_credential": {"CREDENTIALS_DIRECTORY": str(folder)},
            "_file": {},
            "_env": {"OURS": content},
        }
        return {self.variable(form): named} | at_hand[form]


def variable(section: str, key: str) -> str:
    return f"{PREFIX}{section}__{key}".upper()


TRACK_KEY = Kept("upstream", "track_api_key", "track_url")
PREVIOUS = Kept("upstream", "track_api_key_previous", "track_url")
APP_KEY = Kept("upstream", "app_api_key", "app_url")
LOCAL_KEY = Kept("listen", "local_key", "track_url")
ALL = [TRACK_KEY, PREVIOUS, APP_KEY, LOCAL_KEY]

each_secret = pytest.mark.parametrize("secret", ALL, ids=[secret.key for secret in ALL])
each_optional = pytest.mark.parametrize("secret", ALL[1:], ids=[secret.key for secret in ALL[1:]])


def fetched(secret: Kept, environ: dict[str, str]) -> str:
    return secret.of(load(None, TRACK | environ)).reveal()


def problem(environ: dict[str, str]):
    with pytest.raises(ConfigError) as caught:
        load(None, TRACK | environ)
    [only] = caught.value.problems
    assert KEY not in render([only])
    return only


@each_optional
@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_secret(tmp_path, secret, form):
    assert fetched(secret, secret.given(form, tmp_path)) == KEY


@each_optional
def test_without_any_form_it_is_empty(tmp_path, secret):
    assert fetched(secret, {}) == ""
    assert fetched(secret, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == ""


@each_optional
def test_two_forms_are_a_problem(tmp_path, secret):
    found = problem(secret.given("_file", tmp_path) | secret.given("_env", tmp_path))
    assert found.what.endswith(f"is set in 2 ways: {secret.key}_file, {secret.key}_env")
    assert found.where == secret.variable("_file")


@each_optional
@pytest.mark.parametrize("address", ["", "https://example.com"])
def test_a_literal_is_refused_when_something_leaves_the_machine(secret, address):
    refused = problem({secret.variable(): KEY, variable("upstream", secret.url): address})
    assert refused.where == secret.variable()
    assert f"{secret.key}_file" in refused.fix
    assert secret.url in refused.fix


@pytest.mark.parametrize(("secret", "url"), [(APP_KEY, "track_url"), (PREVIOUS, "app_url"), (LOCAL_KEY, "app_url")])
def test_it_is_the_secrets_own_url_that_must_be_local(secret, url):
    assert problem({secret.variable(): KEY, variable("upstream", url): LOCAL}).where == secret.variable()


@each_optional
def test_a_literal_beside_a_misspelt_url_is_one_problem(secret):
    found = problem({secret.variable(): KEY, variable("upstream", f"{secret.url}s"): LOCAL})
    assert found.fix == f"did you mean {variable('upstream', secret.url)}?"


@each_optional
@pytest.mark.parametrize("form", ["_credential", "_file", "_env"])
@pytest.mark.parametrize("content", ["", "two\nlines", "a b", "k\u00e9y"])
def test_a_form_that_gives_no_key_is_a_problem(tmp_path, secret, form, content):
    assert problem(secret.given(form, tmp_path, content)).where == secret.variable(form)


@each_optional
@pytest.mark.parametrize("form", ["_credential", "_file", "_env"])
def test_a_form_that_names_nothing_is_a_problem_and_what_it_names_is_not_shown(tmp_path, secret, form):
    for environ in ({}, {"CREDENTIALS_DIRECTORY": str(tmp_path)}):
        assert problem({secret.variable(form): KEY, **environ}).where == secret.variable(form)


@each_optional
def test_a_named_credential_without_systemd_is_not_called_unset(secret):
    found = problem({secret.variable("_credential"): "brand"})
    assert found.what == f"{secret.key}_credential names a systemd credential, and systemd passes none"


def test_the_app_keys_default_credential_counts_when_it_is_there_and_nothing_else_is_set(tmp_path):
    (tmp_path / "app_api_key").write_text(KEY + "\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert fetched(APP_KEY, environ) == KEY
    assert fetched(APP_KEY, environ | {APP_KEY.variable("_credential"): ""}) == ""
    assert fetched(APP_KEY, environ | {APP_KEY.variable("_env"): "OURS", "OURS": "another"}) == "another"


def test_a_default_credential_that_is_there_and_of_no_use_is_a_problem(tmp_path):
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    (tmp_path / "app_api_key").write_text("")
    assert "empty" in problem(environ).what
    (tmp_path / "app_api_key").unlink()
    (tmp_path / "app_api_key").mkdir()
    assert "cannot read" in problem(environ).what


def test_a_default_credential_that_may_be_there_is_a_problem_too():
    """In a folder that cannot be looked into, here for the length of its name."""
    assert "cannot read" in problem({"CREDENTIALS_DIRECTORY": "/" + "a" * 5_000}).what


@pytest.mark.parametrize(
    ("other", "called"),
    [(TRACK_KEY, "Track API key"), (PREVIOUS, "previous Track API key"), (APP_KEY, "App API key")],
)
@pytest.mark.parametrize("form", FORMS)
def test_a_local_key_that_customer_io_knows_is_a_problem(tmp_path, other, called, form):
    found = problem({other.variable("_env"): "OTHER", "OTHER": KEY} | LOCAL_KEY.given(form, tmp_path))
    assert found.what == f"the local key is the {called} too"
    assert found.why.startswith("a local key must be worth nothing at Customer.io")
    assert found.where == LOCAL_KEY.variable(form)


def test_each_secret_finds_its_own_place():
    environ = {one.variable("_env"): f"THE_{one.key}" for one in ALL} | {f"THE_{one.key}": one.key for one in ALL}
    config = load(None, TRACK | environ)
    assert [one.of(config).reveal() for one in ALL] == [one.key for one in ALL]


def test_problems_of_several_secrets_are_reported_together():
    with pytest.raises(ConfigError) as caught:
        load(None, TRACK | {one.variable("_env"): "NOWHERE" for one in ALL})
    assert [one.where for one in caught.value.problems] == [one.variable("_env") for one in ALL]


def test_every_key_that_holds_a_secret_is_among_the_secrets():
    held = {(section, key) for section, keys in FIELDS.items() for key, field in keys.items() if field.type is Secret}
    assert held == {(secret.section, secret.key) for secret in SECRETS} == {(one.section, one.key) for one in ALL}


@pytest.mark.parametrize(
    ("section", "key"),
    [
        *((secret.section, secret.key + form) for secret in ALL for form in FORMS),
        ("upstream", "track_url"),
        ("upstream", "app_url"),
    ],
)
@pytest.mark.parametrize("value", ["7_654_321", "76.54321", '"76543/\\u000021"', '["7654321"]', "{ a = 7654321 }"])
def test_no_message_repeats_what_stands_where_a_secret_may(tmp_path, section, key, value):
    """Whether it is of another type, has a wrong form or names what is not there."""
    file = tmp_path / "config.toml"
    file.write_text(f"[{section}]\n{key} = {value}\n")
    with pytest.raises(ConfigError) as caught:
        load(file, {variable("upstream", "site_id"): "site"})
    said = "\n".join(f"{one.what} {one.why} {one.fix}" for one in caught.value.problems)
    assert f"{key} " in said
    assert "76" not in said


@each_secret
def test_a_config_shows_no_secret(secret):
    config = load(None, TRACK | {secret.variable("_env"): "OURS", "OURS": KEY})
    assert secret.of(config).reveal() == KEY
    assert KEY not in repr(config)
