"""What is kept between design points: bounded, and never older than the files that it was made of."""

import os
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Generic, TypeVar

__all__ = ["Kept", "KeptFiles"]

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_Versioned = tuple[str, tuple[int, ...] | None]


class Kept(dict[_Key, _Value]):
    """Results by all that they follow from. Who takes one out does not change it.

    Args:
        most: Results at a time; the older half goes when there is one more.
    """

    def __init__(self, most: int):
        super().__init__()
        self.most = most

    def keep(self, key: _Key, value: _Value) -> _Value:
        """Keeps a result, and returns it."""
        if len(self) >= self.most:
            for old in list(islice(self, self.most // 2 + 1)):
                self.pop(old, None)
        self[key] = value
        return value


def _version(file: str) -> tuple[int, ...] | None:
    """Another one whenever the file is written or replaced; None where it cannot be read."""
    try:
        found = os.stat(file)  # noqa: PTH116 (several times per design point)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


class KeptFiles(Generic[_Key, _Value]):
    """What was read of files, until one of them changes.

    Args:
        most: Results at a time.
    """

    def __init__(self, most: int = 64):
        self._found: Kept[_Key, tuple[_Value, list[_Versioned]]] = Kept(most)

    def get(
        self, key: _Key, files: Callable[[], Iterable[Path]], read: Callable[[], _Value]
    ) -> _Value:
        """The kept result, or a new one where there is none or one of its files has changed.

        Args:
            key: Of the result.
            files: Names all files that it is read of, and those that would count if they were there.
            read: Reads it; what this raises is not kept.
        """
        found = self._found.get(key)
        if found is not None:
            value, versions = found
            for file, version in versions:
                if _version(file) != version:
                    break
            else:
                return value
        # Versions first: what is written meanwhile makes the result old, not the file unseen.
        versions = [(file, _version(file)) for file in map(str, files())]
        return self._found.keep(key, (read(), versions))[0]
