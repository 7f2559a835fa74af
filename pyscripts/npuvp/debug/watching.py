"""What a watchpoint watches: text to registers and ranges, and changes as text."""

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npuvp._core import debugger as _debugger
from npuvp.errors import InputError
from npuvp.firmware import Tensor
from npuvp.machine import Machine
from npuvp.tensors import from_bytes

__all__ = ["Watched", "change_text", "find_watched", "row_elements"]

_REGISTER = re.compile(r"(?P<kind>gp|f|a)(?P<number>\d+)")
_RANGE = re.compile(r"(?P<space>\w+)\[(?P<first>\w+)(?::(?P<end>\w+))?\]")
_COUNT = {"gp": 16, "f": 8, "a": 16}
_KIND = {
    "gp": _debugger.WatchKind.gp,
    "f": _debugger.WatchKind.fp,
    "a": _debugger.WatchKind.ha,
}


@dataclass(frozen=True)
class Watched:
    """What is watched.

    Attributes:
        what: Its name, with the core's where it has one.
        kind: Kind of the native watch.
        core: Index of the core whose it is; -1: a memory.
        address: Register number, or global address of the first byte.
        bytes: Length of the range.
        space: Name of the space, or empty for a register.
        first: First row, word or byte in the space.
    """

    what: str
    kind: Any
    core: int
    address: int
    bytes: int
    space: str = ""
    first: int = 0


def row_elements(machine: Machine, space: str) -> int:
    """Elements of a row of a space: VLEN, MLEN, or 1 for words and bytes."""
    name, _, sram = space.partition(".")
    if sram not in ("vector", "matrix"):
        return 1
    core = next(c for c in machine.description["cores"] if c["name"] == name)
    return int(core["parameters"]["vlen" if sram == "vector" else "mlen"])


def _number(text: str, place: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise InputError(f"watch {place!r}: {text!r} is no number (allowed: 42, 0x2a)") from None


def find_watched(machine: Machine, core: int, place: str) -> Watched:
    """What `place` names: ``gp4``, ``f1``, ``a2``, ``vector[3]`` or ``vector[3:5]`` (rows, the end
    not included), ``matrix[..]``, ``fp[..]``, ``int[..]`` (words), ``hbm[0x100:0x140]`` (bytes) or the
    name of a tensor.

    Raises:
        InputError: It names nothing of this machine; the message says what was allowed.
    """
    name = machine.description["cores"][core]["name"]
    if match := _REGISTER.fullmatch(place):
        kind, number = match["kind"], int(match["number"])
        if number >= _COUNT[kind]:
            raise InputError(f"watch {place!r}: {kind}0..{kind}{_COUNT[kind] - 1} exist")
        return Watched(f"{name}.{place}", _KIND[kind], core, number, 8)
    if match := _RANGE.fullmatch(place):
        space = match["space"] if match["space"] == "hbm" else f"{name}.{match['space']}"
        first = _number(match["first"], place)
        end = _number(match["end"], place) if match["end"] else first + 1
        return _range(machine, core, place, space, first, end)
    tensor = machine.firmware.tensors.get(place)
    if tensor is not None:
        elements = row_elements(machine, tensor.space)
        first, last = tensor.address // elements, (tensor.address + tensor.size - 1) // elements
        owner = core
        for index, entry in enumerate(machine.description["cores"]):
            if tensor.space.startswith(entry["name"] + "."):
                owner = index
        return _range(machine, owner, place, tensor.space, first, last + 1)
    raise InputError(
        f"watch {place!r} (allowed: gp0..gp15, f0..f7, a0..a15, vector[ROW], vector[ROW:END], "
        "matrix[..], fp[WORD], int[WORD], hbm[BYTE:END], the name of a tensor)"
    )


def _range(machine: Machine, core: int, place: str, space: str, first: int, end: int) -> Watched:
    base, unit, _, size = machine.place(space)
    elements = row_elements(machine, space)
    count = size // elements
    if not 0 <= first < end <= count:
        raise InputError(f"watch {place!r}: {space} has 0..{count - 1}, and the end comes after")
    floating = space != "hbm" and not space.endswith(".int")
    if floating and not machine.functional:
        raise InputError(f"watch {place!r}: timing mode computes no floating-point data")
    what = place if "[" not in place else f"{space}[{first}]"
    if "[" in place and end > first + 1:
        what = f"{space}[{first}:{end}]" if space != "hbm" else f"hbm[{first:#x}:{end:#x}]"
    bytes_per = elements * unit
    return Watched(
        what,
        _debugger.WatchKind.range,
        -1 if space == "hbm" else core,
        base + first * bytes_per,
        (end - first) * bytes_per,
        space,
        first,
    )


def _values(machine: Machine, watched: Watched, data: bytes) -> NDArray[Any]:
    if watched.space == "hbm":
        return np.frombuffer(data, np.uint8)
    _, unit, storage, _ = machine.place(watched.space)
    raw = np.frombuffer(data, np.uint8)
    if storage == "raw32":
        return raw.view(np.uint32)
    tensor = Tensor("watched", watched.space, 0, "fp32", (len(data) // unit,), "inout")

    def read(offset: int, count: int) -> NDArray[np.uint8]:
        return raw[offset : offset + count]

    return from_bytes(tensor, read, unit, storage, machine.codec)


def _register_value(watched: Watched, data: bytes) -> str:
    if watched.kind == _debugger.WatchKind.fp:
        return f"{struct.unpack('<f', data[:4])[0]:.9g}"
    value = int.from_bytes(data, "little")
    return f"{value} ({value:#x})" if value > 9 else str(value)


def change_text(machine: Machine, watched: Watched, before: bytes, after: bytes) -> str:
    """What changed: old and new value, of a range those of its first element that changed."""
    if not watched.space:
        old, new = (_register_value(watched, data) for data in (before, after))
        return f"{watched.what}: {old} -> {new}"
    old_values, new_values = (_values(machine, watched, data) for data in (before, after))
    # Bits decide: a NaN differs from itself.
    width = len(before) // len(old_values)
    differ = (
        (np.frombuffer(before, np.uint8) != np.frombuffer(after, np.uint8))
        .reshape(-1, width)
        .any(axis=1)
    )
    at = int(np.argmax(differ))
    elements = row_elements(machine, watched.space)
    if watched.space == "hbm":
        where = f"hbm[{watched.first + at:#x}]"
    else:
        where = f"{watched.space}[{watched.first + at // elements}]"
        where += f" lane {at % elements}" if elements > 1 else ""
    text = f"{where}: {_one(old_values[at])} -> {_one(new_values[at])}"
    changed = int(differ.sum())
    return text + (f" (and {changed - 1} more)" if changed > 1 else "")


def _one(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, np.floating) else str(value)


def native_watches(watched: Iterable[tuple[int, Watched]]) -> list[dict[str, Any]]:
    """Watches by number, as the machine takes them."""
    return [
        {"id": number, "kind": w.kind, "core": w.core, "address": w.address, "bytes": w.bytes}
        for number, w in watched
    ]
