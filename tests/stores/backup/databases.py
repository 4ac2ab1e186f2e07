"""Small databases to back up."""

from __future__ import annotations

import sqlite3
from pathlib import Path

LIST = "image_search.db.json"


def new_database(path: Path, rows: int, row_bytes: int = 10) -> Path:
    path.parent.mkdir(exist_ok=True)
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA user_version = 7")
    db.execute("CREATE TABLE parents (number INTEGER PRIMARY KEY, content BLOB)")
    db.execute("CREATE TABLE children (parent INTEGER REFERENCES parents (number))")
    db.executemany("INSERT INTO parents VALUES (?, randomblob(?))", [(number, row_bytes) for number in range(rows)])
    db.executemany("INSERT INTO children VALUES (?)", [(number,) for number in range(rows)])
    db.commit()
    db.close()
    return path
