"""`cio-buffer dead`: its commands. What they do is imported when they run."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

import click

if TYPE_CHECKING:
    from cio_buffer.cli.client import AdminSocket

Command = TypeVar("Command", bound=Callable[..., Any])

RECEIPT = "01KDJ4X2N0A7QF"
AFTER_NEWER = (
    "Replay also what newer operations of the same person have overtaken. Beware: an old identify would overwrite "
    "newer attributes."
)


class Asking(NamedTuple):
    """How a command asks."""

    config_path: Path | None
    admin_path: str | None
    as_json: bool

    def exit_with(self, ask: "Callable[[AdminSocket], int]") -> NoReturn:
        """What `ask` returns becomes the exit code."""
        from cio_buffer.cli.client import with_daemon  # noqa: PLC0415

        raise SystemExit(with_daemon(self.config_path, self.admin_path, ask))


def options(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several as one, in the order in which --help lists them."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def the_daemon(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say whom to ask and how to answer; the command is given them as one `asking`."""

    @click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
    @click.option(
        "--config", "config_path", type=click.Path(path_type=Path), metavar="FILE", help="The config file (TOML)."
    )
    @click.option("--admin", "admin_path", metavar="PATH", help="The daemon's admin socket.")
    @wraps(command)
    def run(*, config_path: Path | None, admin_path: str | None, as_json: bool, **given: Any) -> None:
        command(Asking(config_path, admin_path, as_json), **given)

    return run


FILTERS = options(
    click.option("--reason", metavar="WORD", help="Those that died of it, such as refused or expired."),
    click.option("--kind", metavar="KIND", help="Those of this kind, such as identify or event."),
    click.option("--person", metavar="KIND:VALUE", help="Theirs, such as id:5 or email:ann@example.com."),
    click.option("--since", metavar="TIME|AGE", help="Those that died since then: 2026-08-05, 2h, 3d. Times are UTC."),
)
WHICH = options(
    click.argument("receipts", nargs=-1, metavar="[RECEIPT]..."),
    FILTERS,
    click.option("--all", "everything", is_flag=True, help="All there are, or all that the filters let through."),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="So many at most, the oldest."),
    click.option("--dry-run", is_flag=True, help="Only say how many it would be."),
    click.option("--yes", is_flag=True, help="Do not ask. Needed for filters where there is no terminal."),
)


@click.group("dead")
def dead() -> None:
    """Operations that were given up: look at them, send them again, mend them, throw them away."""


def command(name: str, does: str, *, more: str = "", examples: str) -> Callable[[Callable[..., None]], click.Command]:
    """One of the group. Its help opens with examples; `does` is its line in the group's help."""
    lines = "\n".join(f"  cio-buffer dead {example}" for example in examples.format(RECEIPT).splitlines())
    return dead.command(name, short_help=does, help="\n\n".join(filter(None, [f"\b\n{lines}", does, more])))


@command(
    "list",
    "List dead letters, in the order in which they were accepted.",
    examples="list\nlist --reason refused --since 2h\n"
    "list --person email:ann@example.com --json | jq -r '.dead[].receipt'",
)
@FILTERS
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="So many at most; 100 if nothing is said.")
@click.option("--all", "everything", is_flag=True, help="However many there are.")
@click.option("--after", metavar="CURSOR", help="Go on where a list ended: with its `next`.")
@the_daemon
def list_command(asking: Asking, limit: int | None, everything: bool, after: str | None, **filters: str | None) -> None:
    from cio_buffer.admin.letter_questions import Filters  # noqa: PLC0415
    from cio_buffer.cli.dead_reading import LIMIT, list_letters  # noqa: PLC0415

    if everything and limit is not None:
        raise click.UsageError("--all or --limit: not both")
    count = None if everything else limit or LIMIT
    asked = Filters(**filters)
    asking.exit_with(lambda daemon: list_letters(daemon, asked, limit=count, after=after, as_json=asking.as_json))


@command(
    "show",
    "Show one dead letter, and each request that it was in.",
    examples="show {0}\nshow {0} --body",
)
@click.argument("receipt")
@click.option("--body", "with_body", is_flag=True, help="Show what is in it, too.")
@the_daemon
def show_command(asking: Asking, receipt: str, with_body: bool) -> None:
    from cio_buffer.cli.dead_reading import show_letter  # noqa: PLC0415

    asking.exit_with(lambda daemon: show_letter(daemon, receipt, with_body=with_body, as_json=asking.as_json))


@command(
    "replay",
    "Send dead letters again: they wait behind all that was accepted before.",
    more="Each keeps its receipt, its id and its time. Exit code 1: not all that was asked for is replayed.",
    examples="replay {0}\nreplay --reason expired --since 3d --dry-run\nreplay --all --yes",
)
@WHICH
@click.option("--after-newer", is_flag=True, help=AFTER_NEWER)
@the_daemon
def replay_command(asking: Asking, after_newer: bool, yes: bool, **which: Any) -> None:
    from cio_buffer.admin.letter_questions import ReplayQuestion  # noqa: PLC0415
    from cio_buffer.cli.dead_changing import replay_letters  # noqa: PLC0415

    question = ReplayQuestion(after_newer=after_newer, **said(**which))
    asking.exit_with(lambda daemon: replay_letters(daemon, question, is_sure=yes, as_json=asking.as_json))


@command(
    "purge",
    "Throw dead letters away, for good.",
    more="Exit code 1: there is no such dead letter.",
    examples="purge {0}\npurge --kind event --reason refused --dry-run",
)
@WHICH
@the_daemon
def purge_command(asking: Asking, yes: bool, **which: Any) -> None:
    from cio_buffer.admin.letter_questions import ChangeQuestion  # noqa: PLC0415
    from cio_buffer.cli.dead_changing import purge_letters  # noqa: PLC0415

    question = ChangeQuestion(**said(**which))
    asking.exit_with(lambda daemon: purge_letters(daemon, question, is_sure=yes, as_json=asking.as_json))


@command(
    "edit",
    "Give a dead letter another body, in $EDITOR or from a file.",
    more="It keeps its receipt and its time. The body is checked as if an app had sent it. Exit code 1: it was "
    "refused, and nothing is changed; or it is changed, but not replayed.",
    examples="edit {0} --replay\nedit {0} --body mended.json",
)
@click.argument("receipt")
@click.option(
    "--body",
    "body_path",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE|-",
    help="Where the new body is. Without it, $EDITOR opens with the old one.",
)
@click.option("--replay", is_flag=True, help="Send it again at once.")
@click.option("--after-newer", is_flag=True, help=AFTER_NEWER)
@the_daemon
def edit_command(asking: Asking, receipt: str, body_path: str | None, replay: bool, after_newer: bool) -> None:
    from cio_buffer.admin.letter_questions import EditQuestion  # noqa: PLC0415
    from cio_buffer.cli.dead_editing import edit_letter  # noqa: PLC0415

    question = EditQuestion(receipt=receipt, replay=replay, after_newer=after_newer)
    asking.exit_with(lambda daemon: edit_letter(daemon, question, body_path, as_json=asking.as_json))


def said(receipts: tuple[str, ...], everything: bool, **others: Any) -> dict[str, Any]:
    """Which letters a change is about, as the daemon is asked. Raises UsageError where it says nothing, or too much."""
    is_narrow = any(others[name] is not None for name in ("reason", "kind", "person", "since"))
    if receipts and (is_narrow or everything):
        raise click.UsageError("name receipts, or filter: not both")
    if not (receipts or is_narrow or everything):
        raise click.UsageError("say which: receipts, a filter, or --all")
    return {"receipts": list(receipts) or None, "all": everything, **others}
