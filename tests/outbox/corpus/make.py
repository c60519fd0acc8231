"""Makes the corpus: for each version of the store's format, stores that its own code has written.

    uv run python -m tests.outbox.corpus.make          what is missing
    uv run python -m tests.outbox.corpus.make 4        version 4 anew

Needs git, with our history, and uv, which gives each version the libraries that it asks for. `format-N-closed.tar.xz`
ended politely; `format-N-killed.tar.xz` was killed with all it had written still in its WAL.
"""

import io
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from cio_buffer.outbox import schema

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
COMMITS = {
    1: "fe5f4505a3d3b0fe99eea6ffa501fe1245ce5f01",
    2: "e3285fc43c819b9db8f46ba4d4daeb690c384f5f",
    3: "fa7e7c050b0dc9000bfcf3f07a260c0725d12eaf",
    4: "20c661126abf22995c037695e18c8eade4045be0",
}
"""The last of each version. What is not here is made by the code that is there now."""

ENDINGS = ("closed", "killed")


def archive_of(version: int, ending: str) -> Path:
    return HERE / f"format-{version}-{ending}.tar.xz"


def make(version: int, folder: Path) -> None:
    """Both stores of one version, by its own code."""
    code = ROOT
    if version in COMMITS:
        code = folder / "code"
        subprocess.run(["git", "clone", "--quiet", "--no-checkout", ROOT, code], check=True)
        subprocess.run(["git", "-C", code, "checkout", "--quiet", COMMITS[version]], check=True)
    for ending in ENDINGS:
        store = folder / ending
        write = ["uv", "run", "--quiet", "--project", code, "python", HERE / "write.py", store, ending]
        subprocess.run(write, cwd=code, check=ending == "closed")  # the other one kills itself
        pack(store, archive_of(version, ending))


def pack(store: Path, archive: Path) -> None:
    """All that lies there, but for what is good only as long as the process lives. Alike for like contents."""
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for file in sorted(store.iterdir()):
            if not file.name.endswith("-shm"):
                inside = tarfile.TarInfo(file.name)
                inside.size, inside.mode = file.stat().st_size, 0o600
                tar.addfile(inside, io.BytesIO(file.read_bytes()))
    print(archive.name, archive.stat().st_size, "bytes")


def main(wanted: list[int]) -> None:
    for version in wanted or range(1, schema.VERSION + 1):
        if wanted or not all(archive_of(version, ending).exists() for ending in ENDINGS):
            with TemporaryDirectory() as folder:
                make(version, Path(folder))


if __name__ == "__main__":
    main([int(one) for one in sys.argv[1:]])
