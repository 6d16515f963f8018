"""The rows of files, and of batches."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from aquahost.daemon.jobs.database import Database
from aquahost.daemon.jobs.retention import Kept
from aquahost.daemon.jobs.states import BATCH_COMES_FROM
from aquahost.messages.jobs import Batch, BatchState, StoredFile

_FILE = "id, tenant, name, purpose, nbytes, created_at"
_ENDED = tuple(state for state in BatchState if state.has_ended)


class FileTable:
    """Methods block, and raise sqlite3.Error."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, file: StoredFile) -> None:
        """Note a file, which is on disk."""
        self._database.run(
            f"INSERT INTO files ({_FILE}) VALUES (?, ?, ?, ?, ?, ?)",
            (file.id, file.tenant, file.name, file.purpose, file.nbytes, file.created_at),
        )

    def get(self, tenant: str, file: str) -> StoredFile | None:
        """A tenant's file, if it has one of that id."""
        rows = self._database.rows(f"SELECT {_FILE} FROM files WHERE tenant = ? AND id = ?", (tenant, file))
        return _file(rows[0]) if rows else None

    def page(
        self, tenant: str, *, purpose: str | None, after: str | None, limit: int, newest_first: bool
    ) -> list[StoredFile]:
        """A tenant's files in the order they came, from the one after `after` on."""
        order, beyond = ("DESC", "<") if newest_first else ("ASC", ">")
        sql, parameters = f"SELECT {_FILE} FROM files WHERE tenant = ?", [tenant]
        if purpose is not None:
            sql, parameters = sql + " AND purpose = ?", [*parameters, purpose]
        if after is not None:
            sql += f" AND seq {beyond} (SELECT seq FROM files WHERE tenant = ? AND id = ?)"
            parameters += [tenant, after]
        return [_file(row) for row in self._database.rows(f"{sql} ORDER BY seq {order} LIMIT {limit}", parameters)]

    def remove(self, file: str) -> None:
        """Forget a file."""
        self._database.run("DELETE FROM files WHERE id = ?", (file,))

    def ids(self) -> list[str]:
        """Of all files."""
        return [file for (file,) in self._database.rows("SELECT id FROM files")]

    def unused(self) -> list[Kept]:
        """All files but those that batches are yet to read."""
        rows = self._database.rows(
            "SELECT id, tenant, created_at, nbytes FROM files WHERE id NOT IN "
            "(SELECT input_file_id FROM batches WHERE state = 'validating')"
        )
        return [Kept("file", file, tenant, created_at, nbytes) for file, tenant, created_at, nbytes in rows]


class BatchTable:
    """Methods block, and raise sqlite3.Error."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, batch: Batch) -> None:
        """Note a new batch."""
        self._database.run(
            "INSERT INTO batches (id, tenant, state, input_file_id, record) VALUES (?, ?, ?, ?, ?)",
            (batch.id, batch.tenant, batch.state, batch.input_file_id, msgspec.json.encode(batch)),
        )

    def get(self, batch: str) -> Batch | None:
        """A batch, if there is one of that id."""
        return _first(self._database.rows("SELECT record FROM batches WHERE id = ?", (batch,)))

    def page(self, tenant: str, *, after: str | None, limit: int) -> list[Batch]:
        """A tenant's batches, newest first, from the one after `after` on."""
        where, parameters = "tenant = ?", [tenant]
        if after is not None:
            where += " AND seq < (SELECT seq FROM batches WHERE tenant = ? AND id = ?)"
            parameters += [tenant, after]
        return _batches(
            self._database.rows(f"SELECT record FROM batches WHERE {where} ORDER BY seq DESC LIMIT {limit}", parameters)
        )

    def in_states(self, states: Collection[BatchState]) -> list[Batch]:
        """All batches in these states, oldest first."""
        marks = ", ".join("?" * len(states))
        return _batches(
            self._database.rows(f"SELECT record FROM batches WHERE state IN ({marks}) ORDER BY seq", (*states,))
        )

    def move(self, batch: str, to: BatchState, now_s: float, **changes: Any) -> Batch | None:
        """Change a batch's state and whatever else of it; None if it may not be changed so."""
        before = self.get(batch)
        if before is None or before.state not in BATCH_COMES_FROM[to]:
            return None
        times = {**before.times, to.value: int(now_s)}
        after = msgspec.structs.replace(before, state=to, times=times, **changes)
        self._database.run(
            "UPDATE batches SET state = ?, ended_at = ?, record = ? WHERE id = ?",
            (to, now_s if to.has_ended else None, msgspec.json.encode(after), batch),
        )
        return after

    def remove(self, batch: str) -> None:
        """Forget a batch."""
        self._database.run("DELETE FROM batches WHERE id = ?", (batch,))

    def ended(self) -> list[Kept]:
        """All that have ended. What they wrote are files, and kept as these."""
        marks = ", ".join("?" * len(_ENDED))
        rows = self._database.rows(f"SELECT id, tenant, ended_at FROM batches WHERE state IN ({marks})", _ENDED)
        return [Kept("batch", batch, tenant, ended_at, 0) for batch, tenant, ended_at in rows]


def _file(row: tuple[Any, ...]) -> StoredFile:
    id_, tenant, name, purpose, nbytes, created_at = row
    return StoredFile(id=id_, tenant=tenant, name=name, purpose=purpose, nbytes=nbytes, created_at=created_at)


def _batches(rows: list[tuple[Any, ...]]) -> list[Batch]:
    return [msgspec.json.decode(record, type=Batch) for (record,) in rows]


def _first(rows: list[tuple[Any, ...]]) -> Batch | None:
    found = _batches(rows)
    return found[0] if found else None
