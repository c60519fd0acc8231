"""From the sources to one checked Config."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from cio_buffer.config.checks import check
from cio_buffer.config.fetching import fetch
from cio_buffer.config.keys import Config
from cio_buffer.config.problems import ConfigError, Problem
from cio_buffer.config.reading import Finding, read
from cio_buffer.config.sources import Name, Settings, gather, may_exist

SYSTEM_PATH = Path("/etc/cio-buffer/config.toml")


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read and check everything: environment beats file beats defaults, and the secrets are fetched.

    Raises ConfigError with all problems at once. Reads the file and what holds the secrets, and touches nothing else.
    """
    settings = gather(path, environ)
    as_written, misfits = read(settings.given)
    config, missed = fetch(as_written, environ)
    findings = [*misfits, *_independent([*check(config), *missed], misfits)]
    if findings:
        raise ConfigError(_placed(finding, settings) for finding in findings)
    return config


def glance(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read without checking, and without the secrets: enough to find the daemon that runs with it.

    Raises ConfigError where the file cannot be read at all.
    """
    return read(gather(path, environ).given)[0]


def find(flag: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The config file: the flag's, else $CIO_BUFFER_CONFIG, else the system's if there is one."""
    if flag:
        return flag
    if named := environ.get("CIO_BUFFER_CONFIG"):
        return Path(named)
    return SYSTEM_PATH if may_exist(SYSTEM_PATH) else None


def _independent(findings: Iterable[Finding], misfits: list[Finding]) -> list[Finding]:
    """Leave out what may only follow from a misfit: "site_id is missing" right after "unknown key site_di"."""
    doubtful: set[Name] = {name for misfit in misfits for name in misfit.names}
    return [one for one in findings if not any(name in doubtful or name[:1] in doubtful for name in one.names)]


def _placed(finding: Finding, settings: Settings) -> Problem:
    return Problem(what=finding.what, where=settings.where(finding.names[0]), why=finding.why, fix=finding.fix)
