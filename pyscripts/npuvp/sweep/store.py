"""Results on disk: a CSV file that grows by whole lines, each written at once."""

import csv
import fcntl
import io
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from npuvp.closing import Closing

__all__ = ["Store", "StoreError"]


class StoreError(ValueError):
    """A file of results that cannot be gone on with."""


#: Seconds between two synchronisations.
_APART = 0.2


class Store(Closing):
    """Appends rows to a CSV file, and knows those that are there.

    A row is complete when its line ends: a line that a kill cut short is dropped when the file is
    opened again, and its point is evaluated anew. The file is locked, so that no two sweeps write it.

    What is written survives the process. So that it survives the machine as well the file is
    synchronised, but not more often than every `_APART` seconds: that takes longer than a design
    point in closed form.

    Args:
        path: The file; made where it does not exist.
        columns: Of a row; the first one is its key.

    Raises:
        StoreError: The file is another sweep's, or is being written.
    """

    def __init__(self, path: Path, columns: Sequence[str]):
        self.path = path
        self.columns = list(columns)
        self.rows: dict[str, dict[str, str]] = {}
        self._synchronised = 0.0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise StoreError(f"{path}: another sweep is writing it") from None
        try:
            self._read()
        except StoreError:
            os.close(self._file)
            self._file = -1
            raise

    def _read(self) -> None:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.ftruncate(self._file, whole)
        lines = list(csv.reader(io.StringIO(content[:whole].decode("utf-8"))))
        if not lines:
            os.lseek(self._file, 0, os.SEEK_END)
            self._write([self.columns])
            return
        if lines[0] != self.columns:
            raise StoreError(
                f"{self.path}: holds the columns {', '.join(lines[0])}; this sweep has "
                f"{', '.join(self.columns)}: give it another --output"
            )
        for line in lines[1:]:
            row = dict(zip(self.columns, line, strict=True))
            self.rows[row[self.columns[0]]] = row
        os.lseek(self._file, 0, os.SEEK_END)

    def _write(self, lines: Iterable[Sequence[Any]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(lines)
        data = text.getvalue().encode("utf-8")
        while data:
            data = data[os.write(self._file, data) :]
        if time.monotonic() - self._synchronised >= _APART:
            os.fsync(self._file)
            self._synchronised = time.monotonic()

    def append(self, *rows: Mapping[str, Any]) -> None:
        """Adds rows; they are in the file when this returns. Texts are made to fit a line."""
        lines = []
        for row in rows:
            values = [row.get(name, "") for name in self.columns]
            lines.append([" | ".join(v.splitlines()) if isinstance(v, str) else v for v in values])
        self._write(lines)
        for line in lines:
            found = dict(zip(self.columns, map(str, line), strict=True))
            self.rows[found[self.columns[0]]] = found

    def close(self) -> None:
        """Gives the file back; one without a row is not left behind."""
        if self._file >= 0:
            if not self.rows:
                self.path.unlink(missing_ok=True)
            os.fsync(self._file)
            os.close(self._file)
            self._file = -1
