"""Whatever is in the file and the environment, the answer is a Config or a ConfigError."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cio_buffer.config import Config, ConfigError, load
from cio_buffer.config.keys import FIELDS

SECTIONS = st.sampled_from([*FIELDS, "a.b", '"log"', "[drain]"]) | st.text(max_size=5)
KEYS = st.sampled_from(sorted({key for keys in FIELDS.values() for key in keys})) | st.text(max_size=5)
VALUES = st.sampled_from(
    ["true", "0", "-1", "1e400", "nan", "9" * 30, "''", '"/a\\u0000"', "[[]]", "{ a = 1 }", "1979-05-27", "'http://[a'"]
) | st.text(max_size=8).map(lambda text: f'"{text}"')
LINES = st.builds("[{}]".format, SECTIONS) | st.builds("{} = {}".format, KEYS, VALUES) | st.text(max_size=20)
VARIABLES = st.builds("CIO_BUFFER__{}__{}".format, SECTIONS, KEYS)


def outcome(content: bytes, environ: dict[str, str]) -> Config | ConfigError:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.toml")
        file.write_bytes(content)
        try:
            return load(file, environ)
        except ConfigError as error:
            return error


def check(answer: Config | ConfigError) -> None:
    """Every problem is three lines, so nothing from the file breaks a block."""
    if isinstance(answer, ConfigError):
        assert answer.problems
        assert str(answer).count("\n") == 3 * len(answer.problems) - 1


RANDOM = settings(derandomize=True, deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])


@RANDOM
@given(st.lists(LINES, max_size=12), st.dictionaries(VARIABLES, st.text(max_size=10), max_size=4))
def test_lines_that_look_like_toml(lines, environ):
    check(outcome("\n".join(lines).encode(), environ))


@RANDOM
@given(st.binary(max_size=200))
def test_bytes(content):
    check(outcome(content, {}))
