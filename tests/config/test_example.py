"""config.example.toml is the reference that people read, so it is kept true."""

import re
import tomllib
from pathlib import Path

from cio_buffer.config import Config, Secret, load
from cio_buffer.config.keys import FIELDS

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


def test_it_has_every_key_and_no_other():
    shown = tomllib.loads(EXAMPLE.read_text())
    assert {section: set(keys) for section, keys in shown.items()} == {name: set(keys) for name, keys in FIELDS.items()}


def test_each_value_is_the_default():
    for section, keys in tomllib.loads(EXAMPLE.read_text()).items():
        for key, value in keys.items():
            default = getattr(getattr(Config(), section), key)
            assert value == (default.reveal() if isinstance(default, Secret) else default), f"{section}.{key}"


def test_it_loads_once_site_and_key_are_given(tmp_path):
    (tmp_path / "track_api_key").write_text("k3y\n")
    config = load(EXAMPLE, {"CREDENTIALS_DIRECTORY": str(tmp_path), "CIO_BUFFER__UPSTREAM__SITE_ID": "site"})
    assert config.upstream.track_api_key.reveal() == "k3y"
    assert (config.drain, config.outbox, config.listen) == (Config().drain, Config().outbox, Config().listen)


def test_another_form_of_the_key_may_be_filled_in_beside_the_default():
    environ = {"CIO_BUFFER__UPSTREAM__SITE_ID": "site", "CIO_BUFFER__UPSTREAM__TRACK_API_KEY_ENV": "KEY", "KEY": "k3y"}
    assert load(EXAMPLE, environ).upstream.track_api_key.reveal() == "k3y"


def test_every_key_has_a_comment():
    key_lines = [line for line in EXAMPLE.read_text().splitlines() if re.match(r"\w+ =", line)]
    uncommented = [line for line in key_lines if "#" not in line]
    assert [line.split(" ")[0] for line in uncommented] == ["unix_path"]  # the admin socket's: its section says it
