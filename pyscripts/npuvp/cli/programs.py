"""Programs as files: ELF, assembly source or raw words; memory contents as files."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npuvp.errors import InputError
from npuvp.firmware import Firmware, Tensor
from npuvp.isa import assemble
from npuvp.loading import place_of
from npuvp.machine import Machine
from npuvp.platform import Platform

__all__ = ["defines", "dump", "load_contents", "load_program", "loaded_inputs", "named_files"]

_LOAD = re.compile(r"(?P<space>[\w.]+?)(?:@(?P<address>\w+))?=(?P<file>.+)")
_DUMP = re.compile(r"(?P<space>[\w.]+?):(?P<address>\w+):(?P<count>\w+)=(?P<file>.+)")


def _number(text: str, what: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if value < 0:
        raise InputError(f"{what} {text!r} is no number (allowed: 42, 0x2a)")
    return value


def defines(items: Iterable[str]) -> dict[str, int | float]:
    """`NAME=VALUE` options; a name alone is 1.

    Raises:
        InputError: A value that is no number.
    """
    result: dict[str, int | float] = {}
    for item in items:
        name, _, text = item.partition("=")
        try:
            result[name] = int(text, 0) if text else 1
        except ValueError:
            try:
                result[name] = float(text)
            except ValueError:
                raise InputError(f"-D {item}: {text!r} is no number") from None
    return result


def named_files(items: list[str], option: str) -> dict[str, str]:
    """`NAME=FILE` options.

    Raises:
        InputError: One of another form.
    """
    result: dict[str, str] = {}
    for item in items:
        name, equals, path = item.partition("=")
        if not (name and equals and path):
            raise InputError(f"{option} {item!r} (allowed: NAME=FILE)")
        result[name] = path
    return result


def load_program(path: str | Path, definitions: Iterable[str]) -> Firmware:
    """Firmware from an ELF file, a `.s` or `.asm` source, or raw words.

    Raises:
        ValueError: What is wrong with it.
        OSError: It cannot be read.
    """
    path = Path(path)
    if path.suffix in (".s", ".asm"):
        return assemble(path, defines=defines(definitions))
    if list(definitions):
        raise InputError(f"-D only has a meaning for .s and .asm sources, {path} is none")
    with path.open("rb") as file:
        magic = file.read(4)
    return Firmware.load(path) if magic == b"\x7fELF" else Firmware.load_words(path)


def _value_type(space: str) -> type[np.generic]:
    if space == "hbm":
        return np.uint8
    return np.uint32 if space.endswith(".int") else np.float32


def _tensor(space: str, address: int, count: int) -> Tensor:
    form = {"hbm": "raw8", "int": "raw32"}.get(space.rpartition(".")[2], "fp32")
    return Tensor("contents", space, address, form, (count,), "inout")


@dataclass(frozen=True)
class _Contents:
    """Initial contents of a part of a memory.

    Attributes:
        space: Of the memory.
        address: Of the first element.
        values: Of a `.npy`; bytes in the space's storage format from any other file.
        raw: Whether they are bytes.
        count: Elements.
    """

    space: str
    address: int
    values: NDArray[Any]
    raw: bool
    count: int


def _contents(description: Mapping[str, Any], item: str) -> _Contents:
    """Reads and checks `SPACE[@ADDR]=FILE`."""
    match = _LOAD.fullmatch(item)
    if not match:
        raise InputError(f"--load {item!r} (allowed: SPACE[@ADDR]=FILE)")
    space, path = match["space"], Path(match["file"])
    address = _number(match["address"] or "0", "address")
    _, unit, _, size = place_of(description, space)
    if path.suffix != ".npy":
        data: NDArray[Any] = np.fromfile(path, np.uint8)
        if len(data) % unit:
            raise InputError(f"--load {item}: {len(data)} bytes are no whole elements of {unit}")
        count = len(data) // unit
    else:
        data = np.load(path, allow_pickle=False)
        want = _value_type(space)
        if data.dtype != want:
            raise InputError(
                f"--load {item}: {path} holds {data.dtype}, {space} takes {np.dtype(want)}"
            )
        count = data.size
    if address + count > size:
        raise InputError(
            f"--load {item}: {space} {address}..{address + count - 1} lies outside the space, "
            f"which ends at {size - 1}"
        )
    return _Contents(space, address, data, path.suffix != ".npy", count)


def load_contents(machine: Machine, item: str) -> None:
    """`SPACE[@ADDR]=FILE`: a `.npy` of values or raw bytes in the space's storage format.

    Raises:
        InputError: The item, the file's type or its size does not fit.
    """
    found = _contents(machine.description, item)
    if found.raw:
        _, unit, _, _ = machine.place(found.space)
        machine.write_bytes(found.space, found.address * unit, found.values)
    elif found.count:
        tensor = _tensor(found.space, found.address, found.count)
        machine.write_tensor(tensor, found.values.reshape(-1))


def loaded_inputs(platform: Platform, firmware: Firmware, items: Iterable[str]) -> set[str]:
    """Input tensors of a firmware that `--load` gives: those of which it fills all, scales included.

    Raises:
        InputError: As `load_contents`.
    """
    description = platform.description()
    filled: dict[str, list[tuple[int, int]]] = {}
    for item in items:
        found = _contents(description, item)
        piece = (found.address, found.address + found.count)
        filled.setdefault(found.space, []).append(piece)

    def whole(space: str, first: int, size: int) -> bool:
        at = first
        for low, high in sorted(filled.get(space, ())):
            if low <= at < high:
                at = high
        return at >= first + size

    return {
        name
        for name, tensor in firmware.tensors.items()
        if whole(tensor.space, tensor.address, tensor.size)
        and whole(tensor.space, tensor.scales, tensor.scale_size)
    }


def parse_dump(machine: Machine, item: str) -> tuple[str, int, int, Path]:
    """`SPACE:ADDR:COUNT=FILE`, checked against the machine.

    Raises:
        InputError: The item or the range does not fit.
    """
    match = _DUMP.fullmatch(item)
    if not match:
        raise InputError(f"--dump {item!r} (allowed: SPACE:ADDR:COUNT=FILE)")
    space = match["space"]
    address, count = _number(match["address"], "address"), _number(match["count"], "count")
    _, _, _, size = machine.place(space)
    if count == 0 or address + count > size:
        raise InputError(
            f"--dump {item}: {space} {address}..{address + count - 1} is no range of the space, "
            f"which ends at {size - 1}"
        )
    return space, address, count, Path(match["file"])


def dump(machine: Machine, item: str) -> Path:
    """Writes part of a memory to a `.npy` of values, or as raw bytes to any other file."""
    space, address, count, path = parse_dump(machine, item)
    _, unit, _, _ = machine.place(space)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        values = machine.read_tensor(_tensor(space, address, count))
        np.save(path, values.view(np.uint32) if space.endswith(".int") else values)
    else:
        machine.read_bytes(space, address * unit, count * unit).tofile(path)
    return path
