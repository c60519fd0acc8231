"""Where things are in a store's file."""

import sqlite3
from pathlib import Path

PAGE = 4096


def root_of(store: Path, table: str) -> int:
    """The page on which a table's tree begins, from 1."""
    db = sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True)
    try:
        (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    finally:
        db.close()
    return int(root)
