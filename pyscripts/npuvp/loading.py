"""What every machine that runs a firmware shares: memories by name, loading, trap texts."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from npuvp.errors import InputError
from npuvp.firmware import Firmware, Location, Tensor
from npuvp.isa.disassembler import instruction_text
from npuvp.tensors import Codec, from_bytes, is_integer, to_pieces

__all__ = ["LoadedMachine"]

_SLOTS = {"vector": 1, "matrix": 2, "fp": 3, "int": 4}
_BYTES = {"bf16": 2, "fp32": 4}


def place_of(description: Mapping[str, Any], space: str) -> tuple[int, int, str, int]:
    """Where a space of a platform lies.

    Args:
        description: `Platform.description()`.
        space: "hbm", or "core0.vector", "core0.matrix", "core0.fp", "core0.int" and so on.

    Returns:
        Base address, bytes per address unit, storage format and size in units.

    Raises:
        InputError: The platform has no such space.
    """
    if space == "hbm":
        memories = description["hbms"]
        if not memories:
            raise InputError("this platform has no memory")
        return memories[0]["parameters"]["base"], 1, "", memories[0]["parameters"]["size"]
    name, _, sram = space.partition(".")
    if sram not in _SLOTS:
        choices = ", ".join(f"{name}.{s}" for s in _SLOTS)
        raise InputError(f"no space {space!r} (spaces: hbm, {choices})")
    core = next((core for core in description["cores"] if core["name"] == name), None)
    if core is None:
        names = ", ".join(core["name"] for core in description["cores"])
        raise InputError(f"no core {name!r} on this platform (cores: {names})")
    p = core["parameters"]
    window = description["platform"]["core_window"]
    storage = {
        "vector": p["vector_format"],
        "matrix": p["matrix_format"],
        "fp": p["fp_format"],
        "int": "raw32",
    }[sram]
    unit = _BYTES.get(storage, 4)
    size = {
        "vector": p["vector_sram_bytes"] // unit,
        "matrix": p["matrix_sram_bytes"] // unit,
        "fp": p["fp_sram_words"],
        "int": p["int_sram_words"],
    }[sram]
    return core["base"] + _SLOTS[sram] * (window // 8), unit, storage, size


class LoadedMachine(ABC):
    """A machine that holds a firmware.

    Args:
        description: `Platform.description()`.
        firmware: What it runs.
        functional: Whether floating-point data is computed; if not, only integers are loaded.
    """

    codec: ClassVar[Codec]
    """Converts between NumPy and the storage formats."""

    def __init__(self, description: dict[str, Any], firmware: Firmware, functional: bool = True):
        self.description = description
        self.firmware = firmware
        self.functional = functional
        self.trace_files: dict[str, Path] = {}
        self._check_fits()

    @abstractmethod
    def read_global(self, address: int, out: NDArray[np.uint8]) -> None:
        """Fills `out` from a global address on, without time passing."""

    @abstractmethod
    def write_global(self, address: int, data: NDArray[np.uint8]) -> None:
        """Writes from a global address on, without time passing."""

    @abstractmethod
    def load_text(self, core: int, words: list[int], entry: int) -> None:
        """Gives a core its program."""

    # Memories by name

    def place(self, space: str) -> tuple[int, int, str, int]:
        """Base address, bytes per address unit, storage format and size in units of a space.

        Raises:
            InputError: The platform has no such space.
        """
        return place_of(self.description, space)

    def read_bytes(self, space: str, offset: int, count: int) -> NDArray[np.uint8]:
        """Bytes of a space from a byte offset on, without time passing."""
        base, _, _, _ = self.place(space)
        out = np.zeros(count, np.uint8)
        if count:
            self.read_global(base + offset, out)
        return out

    def write_bytes(self, space: str, offset: int, data: NDArray[np.uint8]) -> None:
        """Writes bytes of a space, without time passing."""
        base, _, _, _ = self.place(space)
        if len(data):
            self.write_global(base + offset, np.ascontiguousarray(data))

    def write_tensor(self, tensor: Tensor, array: NDArray[Any]) -> None:
        """Stores a tensor in the format of its place."""
        _, unit, storage, _ = self.place(tensor.space)
        for offset, data in to_pieces(
            tensor, array, unit, storage or _element_format(tensor), self.codec
        ):
            self.write_bytes(tensor.space, offset, data)

    def read_tensor(self, tensor: Tensor) -> NDArray[Any]:
        """A tensor's value: int32, uint8 or float32, in its declared shape."""
        _, unit, storage, _ = self.place(tensor.space)

        def read(offset: int, count: int) -> NDArray[np.uint8]:
            return self.read_bytes(tensor.space, offset, count)

        return from_bytes(tensor, read, unit, storage or _element_format(tensor), self.codec)

    # Loading

    def _check_fits(self) -> None:
        faults = []
        cores = self.description["cores"]
        for index, core in enumerate(cores):
            text = self.firmware.text(index)
            words = core["parameters"]["imem_words"]
            if text is not None and len(text.words) > words:
                faults.append(
                    f"{core['name']}: the program has {len(text.words)} words, "
                    f"instruction memory holds {words} (core.imem_words)"
                )
        for number in self.firmware.cores:
            if number >= len(cores):
                faults.append(f"text for core {number}: the platform has cores 0..{len(cores) - 1}")
        spaces = [
            (t.space, f"tensor {t.name}", t.address, t.size) for t in self.firmware.tensors.values()
        ]
        spaces += [
            (t.space, f"scales of tensor {t.name}", t.scales, t.scale_size)
            for t in self.firmware.tensors.values()
            if t.scale_size
        ]
        spaces += [(s.space, "data", s.address, s.units) for s in self.firmware.segments]
        for space, what, address, size in spaces:
            try:
                _, _, _, limit = self.place(space)
            except InputError as error:
                faults.append(f"{what}: {error}")
                continue
            if address + size > limit:
                faults.append(
                    f"{what}: {space} {address:#x}..{address + size - 1:#x} lies outside the "
                    f"space, which ends at {limit - 1:#x}"
                )
        if faults:
            raise InputError(
                f"the firmware does not fit the platform {self.description['name']}:\n  "
                + "\n  ".join(faults)
            )

    def _load(self) -> None:
        for index in range(len(self.description["cores"])):
            text = self.firmware.text(index)
            if text is not None:
                self.load_text(index, text.words, text.entry)
        for segment in self.firmware.segments:
            _, unit, storage, _ = self.place(segment.space)
            data = np.frombuffer(segment.data, np.uint8)
            if segment.format in ("fp32", "bf16") and storage != segment.format:
                values = (
                    data.view(np.float32)
                    if segment.format == "fp32"
                    else (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
                )
                tensor = Tensor("data", segment.space, 0, "fp32", (len(values),), "in")
                (_, data), *_ = to_pieces(tensor, values, unit, storage, self.codec)
            self.write_bytes(segment.space, segment.address * unit, data)
        folders = [Path.cwd()]
        if self.firmware.path is not None:
            folders.insert(0, self.firmware.path.parent)
        for image in self.firmware.images:
            data = np.fromfile(image.find(folders), np.uint8)
            self.write_bytes("hbm", image.address, data)

    def load_inputs(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Stores checked inputs; in timing mode only those of integers."""
        for name, array in inputs.items():
            tensor = self.firmware.tensors[name]
            if self.functional or is_integer(tensor):
                self.write_tensor(tensor, array)

    # What a trap says

    def _where(self, core: int, pc: int) -> str:
        location: Location | None = self.firmware.location(core, pc)
        text = "" if location is None else f"{Path(location.file).name}:{location.line}"
        label = self.firmware.label(core, pc)
        if label is not None:
            text += f" ({label[0]}+{label[1]})" if label[1] else f" ({label[0]})"
        return text

    def _trap_text(self, core: int, report: dict[str, Any]) -> str:
        lines = [f"{report['core']} {report['message']}"]
        where = self._where(core, report["pc"])
        instruction = f"pc {report['pc']:#06x}  {report['text']}".rstrip()
        lines.append(f"{instruction:<52}  {where}".rstrip())
        # The register that explains the message comes first: that of the last address operand.
        operands = [
            f"gp{i} = 0x{value >> 16:04x}_{value & 0xFFFF:04x}"
            for i, value, _ in report["operands"]
        ] + [f"a{i} = {value:#x}" for i, value in report["addresses"]]
        detail = report["detail"]
        if operands:
            lines.append(", ".join(operands) + (f"  ->  {detail}" if detail else ""))
        elif detail:
            lines.append(detail)
        for i, _, writer in report["operands"]:
            if writer >= 0:
                word = self.firmware.text(core)
                assert word is not None
                text = instruction_text(word.words[writer], writer)
                line = f"last writer of gp{i}: pc {writer:#06x}  {text}"
                lines.append(f"{line:<52}  {self._where(core, writer)}".rstrip())
        if self.trace_files:
            files = ", ".join(str(path) for path in self.trace_files.values())
            lines.append(f"traces complete up to {report['time_ps'] / 1e6:.3f} us: {files}")
        return "\n  ".join(lines)


def _element_format(tensor: Tensor) -> str:
    return "plena_e4m3" if tensor.format == "plena" else tensor.format
