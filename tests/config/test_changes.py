"""What differs between two configs, by name."""

import msgspec
import pytest

from cio_buffer.config import Config, Secret, load
from cio_buffer.config.changes import changed_addressee, changed_keys, changed_settings
from cio_buffer.config.keys import FIELDS
from cio_buffer.config.secrets import SECRETS

RUNNING = Config()
EVERY = [(section, key) for section, keys in FIELDS.items() for key in keys]
OF_A_SECRET = {name for secret in SECRETS for name in secret.names}


def with_other(section, key):
    """A config where only that differs."""
    default = getattr(getattr(RUNNING, section), key)
    other = Secret("another") if isinstance(default, Secret) else not default if default in (True, False) else "other"
    if isinstance(default, int | float) and not isinstance(default, bool):
        other = default + 1
    changed = msgspec.structs.replace(getattr(RUNNING, section), **{key: other})
    return msgspec.structs.replace(RUNNING, **{section: changed})


@pytest.mark.parametrize("name", EVERY, ids=".".join)
def test_each_setting_is_a_key_or_needs_a_restart_or_says_where_a_key_is(name):
    after = with_other(*name)
    is_key = isinstance(getattr(getattr(RUNNING, name[0]), name[1]), Secret)
    assert changed_keys(RUNNING, after) == ([".".join(name)] if is_key else [])
    assert changed_settings(RUNNING, after) == ([] if name in OF_A_SECRET else [".".join(name)])


def test_the_same_is_no_change():
    assert (changed_keys(RUNNING, Config()), changed_settings(RUNNING, Config())) == ([], [])
    assert changed_addressee(RUNNING, Config()) == []


@pytest.mark.parametrize("key", ["site_id", "region", "track_url", "app_url"])
def test_keys_are_for_a_workspace(key):
    assert changed_addressee(RUNNING, with_other("upstream", key)) == [f"upstream.{key}"]


def test_a_key_that_moves_to_another_file_is_another_key_only_if_it_is_one(tmp_path):
    for name, key in (("a", "one"), ("b", "one"), ("c", "two")):
        (tmp_path / name).write_text(key)

    def from_file(name):
        environ = {"SITE_ID": "site", "TRACK_API_KEY_FILE": str(tmp_path / name)}
        return load(None, {f"CIO_BUFFER__UPSTREAM__{key}": value for key, value in environ.items()})

    assert changed_keys(from_file("a"), from_file("b")) == []
    assert changed_keys(from_file("a"), from_file("c")) == ["upstream.track_api_key"]
    assert changed_settings(from_file("a"), from_file("c")) == []
