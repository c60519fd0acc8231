"""From a file and an environment to one Config, or to every mistake at once."""

from pathlib import Path

import pytest

from cio_buffer.config import Config, ConfigError, find, load, loading, render

TLS = "tls_cert_file = '/c.pem'\ntls_key_file = '/k.pem'\n"
GOOD = {"CIO_BUFFER__UPSTREAM__SITE_ID": "site", "CIO_BUFFER__UPSTREAM__TRACK_API_KEY_ENV": "KEY", "KEY": "k3y"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def problems(file: Path | None, environ: dict[str, str] = GOOD):
    with pytest.raises(ConfigError) as caught:
        load(file, environ)
    return caught.value.problems


def test_the_environment_alone_is_enough():
    config = load(None, GOOD)
    assert config.upstream.site_id == "site"
    assert config.upstream.track_api_key.reveal() == "k3y"
    assert config.drain == Config().drain


def test_environment_beats_file_beats_default(file):
    file.write_text('[upstream]\nregion = "eu"\nanonymous = "v1"\n[drain]\nbatch_max_entries = 7\n')
    config = load(file, GOOD | {"CIO_BUFFER__UPSTREAM__REGION": "us"})
    assert (config.upstream.region, config.upstream.anonymous) == ("us", "v1")
    assert (config.drain.batch_max_entries, config.drain.batch_max_bytes) == (7, 500_000)


@pytest.mark.parametrize(
    ("variable", "text", "section", "key", "value"),
    [
        ("CIO_BUFFER__DRAIN__BATCH_SAME_LANE", "False", "drain", "batch_same_lane", False),
        ("CIO_BUFFER__DRAIN__BATCH_LINGER_S", "0.5", "drain", "batch_linger_s", 0.5),
        ("CIO_BUFFER__RETRY__BACKOFF_FIRST_S", "2", "retry", "backoff_first_s", 2.0),
        ("CIO_BUFFER__OUTBOX__BYTES_MAX", "500_000_000", "outbox", "bytes_max", 500_000_000),
        ("cio_buffer__log__Level", "debug", "log", "level", "debug"),
        ("CIO_BUFFER__LISTEN__UNIX_PATH", "", "listen", "unix_path", ""),
        ("CIO_BUFFER__LISTEN__UNIX_MODE", "0600", "listen", "unix_mode", "0600"),
        ("CIO_BUFFER__LISTEN__UNIX_USERS", "1000", "listen", "unix_users", "1000"),
        ("CIO_BUFFER__LISTEN__CALLERS", "site_id", "listen", "callers", "site_id"),
        ("CIO_BUFFER__UPSTREAM__PASSTHROUGH_TIMEOUT_S", "7.5", "upstream", "passthrough_timeout_s", 7.5),
        ("CIO_BUFFER__UPSTREAM__APP_URL", "http://[::1]:1", "upstream", "app_url", "http://[::1]:1"),
    ],
)
def test_a_variable_is_read_as_the_type_of_its_key(variable, text, section, key, value):
    got = getattr(getattr(load(None, GOOD | {variable: text}), section), key)
    assert got == value
    assert type(got) is type(value)


def test_whole_seconds_become_floats(file):
    file.write_text("[retry]\nbackoff_first_s = 2\n")
    assert isinstance(load(file, GOOD).retry.backoff_first_s, float)


def test_three_mistakes_are_three_problems_each_with_its_place(file):
    file.write_text('[upstream]\nregoin = "eu"\n\n[drain]\n# a comment\nbatch_max_bytes = 900_000\n')
    found = problems(file, GOOD | {"CIO_BUFFER__LOG__LEVEL": "loud"})
    assert [one.where for one in found] == [f"{file}, line 2", f"{file}, line 6", "CIO_BUFFER__LOG__LEVEL"]
    assert found[0].what == 'unknown key "regoin" in [upstream]'
    assert found[0].fix == 'did you mean "region"?'
    assert "900_000" in found[1].what
    assert "at most 500_000" in found[1].fix
    assert '"warning"' in found[2].fix


def test_every_problem_is_a_block_of_what_why_and_fix(file):
    file.write_text('[upstream]\nregoin = "eu"\n[drains]\n')
    found = problems(file)
    first, second = render(found).split("\nerror: ")
    assert first.splitlines() == [
        'error: unknown key "regoin" in [upstream]'.ljust(76) + f"{file}, line 2",
        '  why: ignored, it would leave region at "us"',
        '  fix: did you mean "region"?',
    ]
    assert len(second.splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("[upstraem]\nregion = 'eu'", 'unknown section or key "upstraem"', 'did you mean "upstream"?'),
        ("region = 'eu'", 'unknown section or key "region"', 'did you mean "region" in [upstream]?'),
        ("[outbox]\nbatch_linger_s = 1", 'unknown key "batch_linger_s" in [outbox]', '"batch_linger_s" in [drain]?'),
        ("[log]\nzzz = 1", 'unknown key "zzz" in [log]', "config.example.toml"),
        ("log = 3", "log is not a section", "[log]"),
        ('[log]\n"leve\\nl" = 3', 'unknown key "leve\\nl" in [log]', '"level"?'),
    ],
)
def test_what_is_not_known_gets_a_suggestion(file, text, what, fix):
    file.write_text(text)
    [problem] = problems(file)
    assert problem.what == what
    assert fix in problem.fix


@pytest.mark.parametrize(
    ("variable", "fix"),
    [
        ("CIO_BUFFER__UPSTREAM__REGOIN", "did you mean CIO_BUFFER__UPSTREAM__REGION?"),
        ("CIO_BUFFER__UPSTREAM_REGION", "did you mean CIO_BUFFER__UPSTREAM__REGION?"),
        ("CIO_BUFFER__UPSTREAM__SITE__ID", "did you mean CIO_BUFFER__UPSTREAM__SITE_ID?"),
        ("CIO_BUFFER__LOGS__LEVEL", "did you mean CIO_BUFFER__LOG__LEVEL?"),
        ("CIO_BUFFER__", "config.example.toml"),
    ],
)
def test_an_unknown_variable_is_a_problem_at_its_name(variable, fix):
    [problem] = problems(None, GOOD | {variable: "eu"})
    assert problem.where == variable
    assert fix in problem.fix


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("listen", "connections_max = 0"),
        ("listen", "connections_max = 1.5"),
        ("listen", "connections_max = true"),
        ("listen", "unix_mode = '0999'"),
        ("listen", "unix_mode = 0o660"),
        ("listen", "unix_path = '/a\\u0000b'".replace("'", '"')),
        ("listen", "callers = 'anyone'"),
        ("listen", "callers = ''"),
        ("listen", "unix_users = ['ann']"),
        ("listen", "unix_users = 1000"),
        ("listen", "unix_users = 'ann,'"),
        ("listen", "unix_users = ',ann'"),
        ("listen", "unix_users = 'ann,,bob'"),
        ("listen", "unix_users = ' '"),
        ("listen", "unix_users = 'ann bob'"),
        ("listen", "unix_users = 'ann;bob'"),
        ("listen", "unix_users = 'ann\\n'".replace("'", '"')),
        ("listen", "unix_users = 'änn'"),
        ("listen", "tls_cert_file = '/a\\u0000b'".replace("'", '"')),
        ("listen", "tls_key_file = 3"),
        ("listen", "https_address = 8256"),
        ("admin", "unix_path = ''"),
        ("upstream", "region = 'fr'"),
        ("upstream", "connect_timeout_s = 0"),
        ("upstream", "request_timeout_s = inf"),
        ("upstream", "passthrough_timeout_s = 0"),
        ("upstream", "passthrough_timeout_s = 3_600.1"),
        ("upstream", "app_url = false"),
        ("upstream", "site_id = 'a:b'"),
        ("upstream", "site_id = []"),
        ("outbox", "bytes_max = 9_223_372_036_854_775_808"),
        ("outbox", "path = ''"),
        ("outbox", "keep_log_for_s = -1"),
        ("outbox", "keep_log_bytes = -1"),
        ("outbox", "keep_log_bytes = 0.5"),
        ("outbox", "keep_dead_for_s = 0"),
        ("outbox", "keep_dead_bytes = 1_048_575"),
        ("admin", "show_payloads = 1"),
        ("drain", "rate_max_per_s = nan"),
        ("drain", "rate_max_per_s = -1"),
        ("drain", "batch_max_entries = 1_001"),
        ("drain", "batch_max_bytes = 500_001"),
        ("drain", "batch_same_lane = 'yes'"),
        ("retry", "backoff_max_s = 1979-05-27"),
        ("retry", "keep_trying_for_s = -0.1"),
        ("log", "format = { a = 1 }"),
    ],
)
def test_a_value_out_of_bounds_or_of_another_type_is_one_problem(file, section, line):
    file.write_text(f"[{section}]\n{line}\n")
    environ = {} if "site_id" in line else {"CIO_BUFFER__UPSTREAM__SITE_ID": "site"}
    environ |= {"CIO_BUFFER__UPSTREAM__TRACK_API_KEY_ENV": "KEY", "KEY": "k3y"}
    [problem] = problems(file, environ)
    assert problem.where == f"{file}, line 2"
    assert line.split(" ")[0] in problem.what


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[listen]\nunix_path = ''\nhttp_address = ''", "both off"),
        ("[listen]\nhttp_address = '0.0.0.0:80'", "not a loopback"),
        ("[listen]\nhttp_address = 'example.com:80'", "not a loopback"),
        ("[listen]\nhttp_address = '8246'", "not host:port"),
        ("[listen]\nhttp_address = '127.0.0.1:70000'", "not host:port"),
        ("[listen]\nhttp_address = '::1:80'", "needs brackets"),
        (f"[listen]\n{TLS}https_address = '0.0.0.0:80'", "https_address in [listen] cannot be used: its host is not"),
        (f"[listen]\n{TLS}https_address = '8256'", "https_address in [listen] cannot be used: it is not host:port"),
        (f"[listen]\n{TLS}https_address = '127.0.0.1:8246'", "http_address and https_address in [listen] are the same"),
        ("[listen]\nunix_path = '/run/a'\n[admin]\nunix_path = '/run/./a'", "same path"),
        ("[outbox]\npath = '/run/a'\n[admin]\nunix_path = '/run/a'", "same path"),
        (f"[listen]\nunix_path = '/{'a' * 107}'", "longer than 107 bytes"),
        ("[retry]\nbackoff_first_s = 10\nbackoff_max_s = 5", "above backoff_max_s"),
        ("[upstream]\ntrack_url = 'http://example.com'", "plain http to another machine"),
        ("[upstream]\ntrack_url = 'ftp://127.0.0.1'", "not a URL"),
        ("[upstream]\ntrack_url = 'https://[::1'", "not a URL"),
        (
            "[upstream]\napp_url = 'http://example.com'",
            "app_url in [upstream] cannot be used: it is plain http to another",
        ),
        ("[upstream]\napp_url = 'ftp://127.0.0.1'", "app_url in [upstream] cannot be used: it is not a URL"),
        ("[upstream]\napp_url = 'https://127.0.0.1/?a=b'", "it holds more than scheme, host, port and path"),
    ],
)
def test_keys_that_cannot_work_together_are_a_problem(file, text, what):
    file.write_text(text)
    [problem] = problems(file)
    assert what in problem.what
    assert problem.where.startswith(f"{file}, line")


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"https_address"}, "[listen] has https_address, but no tls_cert_file and no tls_key_file"),
        ({"tls_cert_file"}, "[listen] has tls_cert_file, but no https_address and no tls_key_file"),
        ({"tls_key_file"}, "[listen] has tls_key_file, but no https_address and no tls_cert_file"),
        ({"https_address", "tls_cert_file"}, "[listen] has https_address and tls_cert_file, but no tls_key_file"),
        ({"https_address", "tls_key_file"}, "[listen] has https_address and tls_key_file, but no tls_cert_file"),
        ({"tls_cert_file", "tls_key_file"}, "[listen] has tls_cert_file and tls_key_file, but no https_address"),
    ],
)
def test_https_takes_an_address_and_both_files(file, given, what):
    """The place is a line that is set, though the missing ones are written too."""
    values = {"tls_key_file": "/k.pem", "tls_cert_file": "/c.pem", "https_address": "127.0.0.1:8256"}
    lines = [f"{key} = '{value if key in given else ''}'" for key, value in values.items()]
    file.write_text("\n".join(["[listen]", *lines]))
    [problem] = problems(file)
    assert problem.what == what
    assert lines[int(problem.where.rpartition(" ")[2]) - 2].split(" ")[0] in given
    assert "openssl" in problem.fix


@pytest.mark.parametrize(
    "text",
    [
        f"{TLS}https_address = '127.0.0.1:8256'",
        f"{TLS}https_address = '[::1]:8246'",
        f"{TLS}https_address = '127.0.0.1:0'\nhttp_address = '127.0.0.1:0'",
        f"{TLS}https_address = '127.0.0.1:8246'\nhttp_address = ''",
        f"{TLS}https_address = '127.0.0.1:8246'\nhttp_address = ''\nunix_path = ''",
    ],
)
def test_https_may_stand_beside_http_or_alone(file, text):
    """The files need not be there: nothing of them is read here."""
    file.write_text(f"[listen]\n{text}")
    assert load(file, GOOD).listen.https()


@pytest.mark.parametrize("key", ["track_url", "app_url"])
def test_a_password_in_a_url_is_refused_and_not_repeated(file, key):
    file.write_text(f"[upstream]\n{key} = 'https://ann:hunter2@example.com'")
    assert "hunter2" not in render(problems(file))


def test_a_missing_site_id_points_at_its_section(file):
    file.write_text("\n[upstream]\nregion = 'eu'\n")
    [problem] = problems(file, {"CIO_BUFFER__UPSTREAM__TRACK_API_KEY_ENV": "KEY", "KEY": "k3y"})
    assert problem.where == f"{file}, line 2"


def test_a_misspelt_required_key_is_one_problem_not_two(file):
    file.write_text("[upstream]\nsite_di = 'site'\ntrack_api_key_evn = 'KEY'")
    assert [one.fix for one in problems(file, {})] == [
        'did you mean "site_id"?',
        'did you mean "track_api_key_env"?',
    ]


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"[log]\nlevel = info\n", ", line 2"),
        (b"[log]\n[log]\n", ", line 2"),
        (b"[log]\n\nlevel = 'a", ", line 3"),
        (b"[log]\nlevel = '\xff'\n", ", line 2"),
        (b"a = " + b"[" * 5_000, ""),
        (b"a = " + b"1" * 5_000, ""),
    ],
)
def test_what_is_not_toml_is_one_problem(file, content, where):
    file.write_bytes(content)
    [problem] = problems(file)
    assert problem.where == f"{file}{where}"


@pytest.mark.parametrize("path", ["/nowhere/config.toml", "/", "/a\0b"])
def test_a_file_that_cannot_be_read_is_one_problem(path):
    [problem] = problems(Path(path))
    assert problem.where == path


def test_lines_of_a_text_are_not_taken_for_keys(file):
    file.write_text('[log]\nformat = """\nlevel = 3\n"""\nlevel = 4\n')
    assert [one.where for one in problems(file)] == [f"{file}, line 2", f"{file}, line 5"]


def test_keys_with_dots_and_quotes_have_lines_too(file):
    file.write_text("log.level = 3\n'drain'.\"batch_max_bytes\" = 0\nretry = { backoff_max_s = 0 }\n")
    assert [one.where for one in problems(file)] == [f"{file}, line {line}" for line in (1, 2, 3)]


def test_the_store_is_in_systemds_state_directory_unless_the_config_says_otherwise(file):
    environ = GOOD | {"STATE_DIRECTORY": "/var/lib/brand:/var/lib/other"}
    assert load(None, environ).outbox.path == "/var/lib/brand/outbox.db"
    file.write_text("[outbox]\npath = '/data/o.db'\n")
    assert load(file, environ).outbox.path == "/data/o.db"


def test_the_file_is_found_by_flag_then_variable_then_place(tmp_path, monkeypatch):
    place = tmp_path / "system.toml"
    monkeypatch.setattr(loading, "SYSTEM_PATH", place)
    assert find(None, {}) is None
    place.touch()
    assert find(None, {"CIO_BUFFER_CONFIG": ""}) == place
    assert find(None, {"CIO_BUFFER_CONFIG": "/a.toml"}) == Path("/a.toml")
    assert find(Path("/b.toml"), {"CIO_BUFFER_CONFIG": "/a.toml"}) == Path("/b.toml")


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("localhost:80", ("localhost", 80)), ("[::1]:8246", ("::1", 8246))],
)
def test_the_http_address_is_taken_apart(text, address):
    assert load(None, GOOD | {"CIO_BUFFER__LISTEN__HTTP_ADDRESS": text}).listen.http() == address


def test_the_https_address_is_taken_apart(file):
    file.write_text(f"[listen]\n{TLS}https_address = '[::1]:8256'")
    assert load(file, GOOD).listen.https() == ("::1", 8256)


def test_a_listener_that_is_off_has_no_address():
    listen = load(None, GOOD | {"CIO_BUFFER__LISTEN__HTTP_ADDRESS": ""}).listen
    assert (listen.http(), listen.https()) == (None, None)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("ann", ("ann",)),
        ("www-data, 1000 ,_app", ("www-data", "1000", "_app")),
        (" a.b@example.org,HOST$ ", ("a.b@example.org", "HOST$")),
    ],
)
def test_the_sockets_users_are_taken_apart(text, names):
    assert load(None, GOOD | {"CIO_BUFFER__LISTEN__UNIX_USERS": text}).listen.unix_user_names() == names


def test_the_sockets_mode_is_octal():
    assert load(None, GOOD).listen.unix_mode_bits() == 0o660
