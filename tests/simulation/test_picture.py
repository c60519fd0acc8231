"""The picture of a day: small, the same each time, and its text is text."""

from pathlib import Path

from tests.simulation.day import live
from tests.simulation.picture import draw_day
from tests.simulation.scenarios import HOUR_S, a_day

BYTES_MAX = 80_000


def test_a_picture_is_small_and_the_same_each_time(tmp_path: Path) -> None:
    outcome = live(a_day(0.005, before_s=HOUR_S, after_s=HOUR_S, tick_s=4.0), 1)
    first, again = tmp_path / "first.svg", tmp_path / "again.svg"
    draw_day(outcome, first)
    draw_day(outcome, again)
    drawn = first.read_text()
    assert drawn == again.read_text()
    assert len(drawn) < BYTES_MAX
    for words in ("6 hours without Customer.io", "requests/s", "delay", "operations leave in"):
        assert words in drawn
    assert "DejaVu" not in drawn  # nobody's machine needs a font of ours
