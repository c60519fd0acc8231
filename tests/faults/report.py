"""What was tried, how often, and what was found."""

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.scene import Scene


class Finding:
    """Of one kind of fault. `tried` counts what was done, `told` is what is worth knowing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tried: Counter[str] = Counter()
        self.acknowledged = 0
        self.refused = 0
        self.told: list[str] = []
        self.violations: list[str] = []
        self.skipped = ""
        self.took_s = 0.0

    def take(self, scene: "Scene", seed: int) -> None:
        """What came of a scene, which is over."""
        self.acknowledged += len(scene.apps.acknowledged)
        self.refused += scene.daemon.refused
        if not scene.is_checked and not scene.violations:
            self.violations.append(f"seed {seed}: nobody looked whether all is there")
        self.violations += [f"seed {seed}: {complaint}" for complaint in scene.violations]

    def rows(self) -> list[str]:
        state = f"skipped: {self.skipped}" if self.skipped else f"{len(self.violations)} violations"
        head = f"{self.name:<16}{self.tried.total():>6} tried {self.acknowledged:>8} stored {self.refused:>7} refused"
        rows = [f"{head} {self.took_s:>6.0f} s  {state}"]
        if self.tried:
            rows.append("    " + ", ".join(f"{name} {times}" for name, times in self.tried.most_common()))
        return rows + [f"    {told}" for told in self.told] + [f"    !! {complaint}" for complaint in self.violations]
