"""What is thought of a config."""

import pytest

from cio_buffer.doctor.config import judge_config, see_config

HERE = '[upstream]\ntrack_url = "http://127.0.0.1:9"\nsite_id = "site"\n'


def seen(tmp_path, text, **environ):
    file = tmp_path / "config.toml"
    file.write_text(text)
    return see_config(file, environ)


def test_a_config_with_its_key_is_valid(tmp_path):
    one = seen(tmp_path, HERE + 'track_api_key = "sup3r"\n')
    assert one.has_key
    assert judge_config(one, is_daemon_there=False).state == "ok"


@pytest.mark.parametrize(("is_daemon_there", "state"), [(True, "warning"), (False, "failed")])
def test_a_key_that_only_systemd_knows_is_no_failure_while_the_daemon_runs(tmp_path, is_daemon_there, state):
    one = seen(tmp_path, HERE)
    judged = judge_config(one, is_daemon_there=is_daemon_there)
    assert (judged.state, one.has_key) == (state, False)
    assert one.config.upstream.site_id == "site"
    assert "track_api_key_file" in judged.fix


def test_a_credential_of_another_name_is_out_of_sight_too(tmp_path):
    assert seen(tmp_path, HERE + 'track_api_key_credential = "mine"\n').is_key_out_of_sight


def test_where_systemd_passes_credentials_a_missing_one_is_a_mistake(tmp_path):
    assert not seen(tmp_path, HERE, CREDENTIALS_DIRECTORY=str(tmp_path)).is_key_out_of_sight


def test_any_other_mistake_fails_with_each_of_them_and_shows_no_key(tmp_path):
    text = HERE + 'track_api_key = "sup3r"\nregoin = "eu"\n[drain]\nrate_max_per_s = "fast"\n'
    judged = judge_config(seen(tmp_path, text), is_daemon_there=True)
    assert judged.state == "failed"
    assert all(told in judged.seen for told in ("regoin", "rate_max_per_s", "line"))
    assert "sup3r" not in judged.seen + judged.fix


@pytest.mark.parametrize("text", ["[upstream", "\0"])
def test_what_cannot_be_read_at_all_is_told(tmp_path, text):
    one = seen(tmp_path, text)
    assert one.config is None
    assert judge_config(one, is_daemon_there=False).state == "failed"


def test_a_file_that_is_not_there_is_told(tmp_path):
    assert see_config(tmp_path / "nowhere.toml", {}).config is None
