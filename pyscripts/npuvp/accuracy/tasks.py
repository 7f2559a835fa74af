"""Task files: prompts and the answers that count as right.

JSON lines, one task each: ``{"prompt": "0493827+0518264=", "answer": "0111101;01012091"}``. For a
model without a tokenizer both are lists of token ids.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FILE", "Task", "TaskError", "find_tasks", "read_tasks", "write_tasks"]

FILE = "tasks.jsonl"

Text = str | tuple[int, ...]


class TaskError(ValueError):
    """A task file that cannot be used; the message names the place."""


@dataclass(frozen=True)
class Task:
    """One prompt and its answer, as text or as token ids."""

    prompt: Text
    answer: Text


def find_tasks(model: str | Path) -> Path:
    """``tasks.jsonl`` in the model's directory or in the one above.

    Raises:
        TaskError: It is in neither.
    """
    places = [Path(model) / FILE, Path(model).resolve().parent / FILE]
    for place in places:
        if place.is_file():
            return place
    raise TaskError(
        f"no task file: neither {places[0]} nor {places[1]} is there; name one with --tasks"
    )


def _text(value: object, where: str) -> Text:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list) and value and all(type(t) is int and t >= 0 for t in value):
        return tuple(value)
    raise TaskError(f"{where}: {value!r}, allowed: a text, or a list of token ids, not empty")


def read_tasks(path: str | Path) -> list[Task]:
    """Reads a task file.

    Raises:
        TaskError: It is missing or empty, or a line is no task.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{path}: not readable: {error}") from None
    tasks = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            data = json.loads(line)
        except ValueError as error:
            raise TaskError(f"{where}: not JSON: {error}") from None
        if not isinstance(data, dict) or set(data) != {"prompt", "answer"}:
            raise TaskError(f"{where}: allowed: an object with the keys prompt and answer")
        parts = [_text(data[key], f"{where}: {key}") for key in ("prompt", "answer")]
        tasks.append(Task(*parts))
    if not tasks:
        raise TaskError(f"{path}: no tasks in it, allowed: one JSON object per line")
    return tasks


def write_tasks(tasks: Iterable[Task], path: str | Path) -> None:
    """Writes a task file."""
    lines = [json.dumps({"prompt": task.prompt, "answer": task.answer}) + "\n" for task in tasks]
    Path(path).write_text("".join(lines), encoding="utf-8")
