"""How damage to the store's file is told from trouble with the disk. Pure."""

import sqlite3

CORRUPT, NOT_A_DATABASE = sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB


class Damaged(Exception):
    """What was read makes no sense: not the disk's refusal, but what it gave back."""


def is_damage(problem: BaseException) -> bool:
    """Whether the file is to be doubted. By SQLite's codes, of which the lowest 8 bits are the family."""
    if isinstance(problem, Damaged):
        return True
    return isinstance(problem, sqlite3.DatabaseError) and code_of(problem) in (CORRUPT, NOT_A_DATABASE)


def name_of(problem: BaseException) -> str:
    """What it is, without its text: SQLite's may quote what is stored. Ours says no more than where."""
    return (
        str(problem) if isinstance(problem, Damaged) else getattr(problem, "sqlite_errorname", type(problem).__name__)
    )


def code_of(problem: BaseException) -> int:
    """SQLite's primary result code, 0 if it has none."""
    return (getattr(problem, "sqlite_errorcode", 0) or 0) & 0xFF


def is_full(problem: BaseException | None) -> bool:
    """Whether the disk had no room for it."""
    return problem is not None and code_of(problem) == sqlite3.SQLITE_FULL
