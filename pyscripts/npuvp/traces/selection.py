"""Choice of signals and components by globs such as ``core0.*``, ``hbm.ch0.*``, ``*``."""

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

__all__ = ["SelectionError", "scopes", "select"]


class SelectionError(ValueError):
    """A pattern that chooses nothing; the message lists what stands near."""


def scopes(paths: Iterable[str]) -> list[str]:
    """Every component above the given paths, in order of appearance.

    >>> scopes(["core0.pc", "core0.vector.busy"])
    ['core0', 'core0.vector']
    """
    found: dict[str, None] = {}
    for path in paths:
        parts = path.split(".")
        for depth in range(1, len(parts)):
            found[".".join(parts[:depth])] = None
    return list(found)


def select(paths: Sequence[str], patterns: Iterable[str], what: str = "signal") -> list[int]:
    """Indices of the paths that at least one pattern matches, ascending.

    A pattern matches a path, or a component above it and with that all that stands below. ``*``
    matches across dots, ``?`` and ``[..]`` are as in a shell, letter case counts.

    Args:
        paths: Full names, e.g. ``core0.vector.busy``.
        patterns: Globs; at least one.
        what: What is chosen, for the error message.

    Raises:
        SelectionError: A pattern matches nothing, or there is no pattern.
        TypeError: ``patterns`` is one string instead of a list of them.
    """
    if isinstance(patterns, str):
        raise TypeError(f"{what}s: a list of patterns is needed, not the string {patterns!r}")
    wanted = list(patterns)
    if not wanted:
        raise SelectionError(f"no {what} pattern given: '*' chooses every {what}")
    chosen: set[int] = set()
    for pattern in wanted:
        if not isinstance(pattern, str):
            raise TypeError(f"{what} pattern {pattern!r}: a string is needed")
        below = f"{pattern}.*"
        found = {
            i
            for i, path in enumerate(paths)
            if fnmatchcase(path, pattern) or fnmatchcase(path, below)
        }
        if not found:
            raise SelectionError(_nothing(pattern, paths, what))
        chosen |= found
    return sorted(chosen)


def _nothing(pattern: str, paths: Sequence[str], what: str) -> str:
    candidates = [*scopes(paths), *paths]
    plain = pattern.rstrip("*?.")
    near = difflib.get_close_matches(plain or pattern, candidates, n=4, cutoff=0.6)
    tops = list(dict.fromkeys(path.split(".")[0] for path in paths))
    message = f"{what} pattern {pattern!r} matches nothing"
    if near:
        message += "; near it: " + ", ".join(near)
    message += "; top-level names: " + (", ".join(tops) if tops else "none")
    if plain.split(".")[0] == "power" or plain.endswith(".power"):
        message += " (power signals exist while a power trace is written)"
    return message
