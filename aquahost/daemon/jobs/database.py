"""The SQLite file behind jobs, files and batches."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aquahost.errors import StartError

SCHEMA_VERSION = 2
_APPLICATION_ID = 0x61717561
"""Marks the file as ours."""
_BUSY_S = 5.0
_SCHEMA = """
CREATE TABLE jobs (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL,
  model TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  body BLOB NOT NULL,
  state TEXT NOT NULL,
  created_at REAL NOT NULL,
  started_at REAL,
  ended_at REAL,
  attempts INTEGER NOT NULL DEFAULT 0,
  kills INTEGER NOT NULL DEFAULT 0,
  error BLOB,
  media_type TEXT,
  result_bytes INTEGER NOT NULL DEFAULT 0,
  batch_id TEXT,
  custom_id TEXT
) STRICT;
CREATE INDEX jobs_by_tenant ON jobs (state, model, tenant, seq);
CREATE INDEX jobs_by_batch ON jobs (batch_id, state) WHERE batch_id IS NOT NULL;
CREATE TABLE files (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  purpose TEXT NOT NULL,
  nbytes INTEGER NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE batches (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL,
  state TEXT NOT NULL,
  input_file_id TEXT NOT NULL,
  ended_at REAL,
  record BLOB NOT NULL
) STRICT;
CREATE INDEX batches_by_state ON batches (state);
"""
_FROM_1 = """
ALTER TABLE jobs ADD COLUMN kills INTEGER NOT NULL DEFAULT 0;
DROP INDEX IF EXISTS jobs_by_state;
CREATE INDEX IF NOT EXISTS jobs_by_tenant ON jobs (state, model, tenant, seq)
"""


class Database:
    """One connection, for one thread at a time. Every committed change outlives the process and the machine's power."""

    def __init__(self, path: Path) -> None:
        """Open or make the file (0600). Raises StartError, one line, for one that is broken, newer, or not ours."""
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise StartError(
                f"cannot open the jobs in {path}: {error}; set AQUAHOST_STATE_DIR to a folder of your own"
            ) from error
        try:
            self._prepare(path)
        except sqlite3.Error as error:
            self.close()
            raise StartError(
                f"the jobs in {path} cannot be read ({error}); move the file away to start without them"
            ) from error
        except StartError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that a query finds."""
        return self._connection.execute(sql, parameters).fetchall()

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Change rows; returns how many."""
        return self._connection.execute(sql, parameters).rowcount

    def run_many(self, sql: str, parameters: Iterator[Sequence[Any]]) -> None:
        """The same change for each of `parameters`."""
        self._connection.executemany(sql, parameters)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes within become durable together at the end, or none."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def forget(self) -> None:
        """Overwrite what is deleted where it may still be read: in the log of changes, too."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _prepare(self, path: Path) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA secure_delete = ON")  # what people asked must not outlive its row
        version: int = self.rows("PRAGMA user_version")[0][0]
        ours = self.rows("PRAGMA application_id")[0][0] == _APPLICATION_ID
        tables = self.rows("SELECT count(*) FROM sqlite_schema")[0][0]
        if not tables:
            with self.transaction():
                self._change(_SCHEMA)
                self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        elif not ours:
            raise StartError(f"{path} is a database of another program; move it away to start without jobs")
        elif version not in (1, SCHEMA_VERSION):
            raise StartError(
                f"the jobs in {path} are of version {version}, and this aquahost knows version {SCHEMA_VERSION}; use "
                "the aquahost that wrote them, or move the file away to start without them"
            )
        elif (fault := self.rows("PRAGMA quick_check(1)")[0][0]) != "ok":
            raise sqlite3.DatabaseError(str(fault).splitlines()[-1])
        elif version == 1:
            with self.transaction():
                self._change(_FROM_1)

    def _change(self, statements: str) -> None:
        for statement in statements.split(";\n"):
            self._connection.execute(statement)
        self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
