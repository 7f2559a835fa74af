"""Reads platform files and overrides into trees of entries, each with its place."""

import os
import re
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from npuvp.parameters import Entry, Fault, PlatformError, Settings

__all__ = ["merge", "python_entries", "python_place", "read_file", "set_entries"]

_PACKAGE = str(Path(__file__).parent) + os.sep
_INTEGER_TAG = "tag:yaml.org,2002:int"
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Texts that are one scalar without quotes wherever they stand in YAML, and what it is then.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./+-]*")
_RESOLVER: Any = yaml.SafeLoader("")


@lru_cache(maxsize=4096)
def _scalar(tag: str, text: str) -> Any:
    # YAML 1.1 reads 1:30 as the sexagesimal 90.
    if tag == _INTEGER_TAG and ":" in text:
        return text
    return yaml.SafeLoader("").construct_object(yaml.ScalarNode(tag, text))


def _value(tag: str, text: str) -> Any:
    """What a scalar stands for; the text itself where it is none of its kind."""
    try:
        return _scalar(tag, text)
    except (yaml.YAMLError, ValueError):
        return text


def _entry(node: yaml.Node, file: str, key: str, faults: list[Fault]) -> Entry:
    place = f"{file}:{node.start_mark.line + 1}"
    value: Any
    if isinstance(node, yaml.MappingNode):
        value = {}
        for name_node, value_node in node.value:
            name = str(getattr(name_node, "value", name_node))
            path = f"{key}.{name}" if key else name
            where = f"{file}:{name_node.start_mark.line + 1}"
            if name in value:
                first = value[name].place
                faults.append(Fault(where, path, None, f"given twice (first at {first})"))
                continue
            value[name] = _entry(value_node, file, path, faults)
    elif isinstance(node, yaml.SequenceNode):
        value = [_entry(item, file, key, faults).value for item in node.value]
    else:
        assert isinstance(node, yaml.ScalarNode)
        value = _value(node.tag, node.value)
    return Entry(value, place, key)


def read_file(path: Path, faults: list[Fault]) -> Settings:
    """Reads a platform file.

    Raises:
        OSError: the file cannot be read.
        PlatformError: it is no YAML mapping; nothing more can be said of it.
    """
    tree, found = _tree(str(path), path.read_bytes())
    faults += found
    return dict(tree)


@lru_cache(maxsize=64)
def _tree(file: str, text: bytes) -> tuple[Settings, tuple[Fault, ...]]:
    """What a file of that name and content says. Sweeps read one file thousands of times."""
    place, message = file, "must be a mapping of parameters"
    faults: list[Fault] = []
    try:
        root = yaml.compose(text.decode("utf-8"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        root, message = None, f"is no UTF-8 text ({error.reason})"
    except yaml.MarkedYAMLError as error:
        root, message = None, f"is no YAML: {error.problem}"
        place = f"{file}:{error.problem_mark.line + 1}" if error.problem_mark else file
    except yaml.YAMLError as error:
        root, message = None, f"is no YAML: {error}"
    if not isinstance(root, yaml.MappingNode):
        raise PlatformError(Path(file).stem, [Fault(place, "file", None, message)])
    result = _entry(root, file, "", faults).value
    assert isinstance(result, dict)
    return result, tuple(faults)


def python_place() -> str:
    """The script's line that called into this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    path = Path(frame.f_code.co_filename)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"Python call at {path}:{frame.f_lineno}"


def _python_entry(value: Any, place: str, key: str) -> Entry:
    if isinstance(value, Mapping):
        inner = {str(k): _python_entry(v, place, f"{key}.{k}") for k, v in value.items()}
        return Entry(inner, place, key)
    if isinstance(value, tuple | list):
        value = [_python_entry(item, place, key).value for item in value]
    return Entry(value, place, key)


def python_entries(values: Mapping[str, Any], place: str, prefix: str = "") -> Settings:
    """Keyword arguments as entries; `prefix` is the path of the component."""
    return {
        name: _python_entry(value, place, f"{prefix}.{name}" if prefix else name)
        for name, value in values.items()
    }


def set_entries(texts: Iterable[str], faults: list[Fault]) -> Settings:
    """Texts of the form "core.vlen=512" as entries; later ones win."""
    result: Settings = {}
    for text in texts:
        entries, found = _set_entry(text)
        faults += found
        result = merge(result, entries) if result else entries
    return dict(result)


@lru_cache(maxsize=4096)
def _set_entry(text: str) -> tuple[Settings, tuple[Fault, ...]]:
    """What an option says. Sweeps give the same ones thousands of times."""
    place = f"--set {text}"
    path, equals, value_text = text.partition("=")
    parts = path.split(".")
    message = "must be KEY=VALUE, such as core.vlen=512"
    if not equals or not all(_KEY.fullmatch(part) for part in parts):
        return {}, (Fault(place, "option", None, message),)
    faults: list[Fault] = []
    if _PLAIN.fullmatch(value_text):
        tag = _RESOLVER.resolve(yaml.ScalarNode, value_text, (True, False))
        entry = Entry(_value(tag, value_text), place, path)
    else:
        try:
            node = yaml.compose(value_text, Loader=yaml.SafeLoader)
        except yaml.YAMLError:
            node = None
        if node is None:
            return {}, (Fault(place, path, repr(value_text), message),)
        entry = _replace(_entry(node, "--set", path, faults), place)
    for depth in range(len(parts) - 1, 0, -1):
        entry = Entry({parts[depth]: entry}, place, ".".join(parts[:depth]))
    return {parts[0]: entry}, tuple(faults)


def _replace(entry: Entry, place: str) -> Entry:
    value = entry.value
    if isinstance(value, dict):
        value = {name: _replace(inner, place) for name, inner in value.items()}
    return Entry(value, place, entry.key)


def merge(base: Settings, over: Settings) -> Settings:
    """`base` with what `over` says in its place; mappings merge key by key."""
    result = dict(base)
    for name, entry in over.items():
        old = result.get(name)
        if old is not None and isinstance(old.value, dict) and isinstance(entry.value, dict):
            entry = Entry(merge(old.value, entry.value), entry.place, entry.key)
        result[name] = entry
    return result
