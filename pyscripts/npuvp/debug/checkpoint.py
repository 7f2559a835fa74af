"""Checkpoint files.

A checkpoint names an instant of a deterministic run and holds numbers of the whole state at that
instant, part by part. It is restored by replay: the same platform, firmware and inputs run again, at
full speed, to the same instant, and every part of the state is compared before anything goes on.
What continues is therefore bit for bit the run that was left, or an error says which part is not.
"""

import hashlib
import io
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npuvp.elf import write_firmware
from npuvp.errors import RunError
from npuvp.firmware import Firmware

__all__ = ["Checkpoint", "CheckpointError", "firmware_hash", "platform_hash"]

_MAGIC = b"NPUVCKPT"
_VERSION = 1
_FRAME = struct.Struct("<8sIIQ")  # magic, version, bytes of the header, bytes of the inputs
_FIELDS: Mapping[str, type] = {
    "platform": str,
    "platform_hash": str,
    "firmware_hash": str,
    "mode": str,
    "position": int,
    "core": str,
    "pc": int,
    "cycle": int,
    "time_ps": int,
    "decisions": dict,
    "start": dict,
    "state": dict,
}


class CheckpointError(RunError):
    """A checkpoint that cannot be read, or does not fit; the message says where and why."""


def platform_hash(description: Mapping[str, Any]) -> str:
    """SHA-256 of a platform as it is simulated: `Platform.description()`."""
    text = json.dumps(description, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def firmware_hash(firmware: Firmware) -> str:
    """SHA-256 of a firmware as its ELF file."""
    return hashlib.sha256(write_firmware(firmware)).hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """An instant of a run.

    Attributes:
        platform: Name of the platform.
        platform_hash: Of the platform as it is simulated.
        firmware_hash: Of the firmware as its ELF file.
        mode: Data mode.
        position: Number of the instant, as run control counts them.
        core: Name of the core that stood still there.
        pc: Its next instruction.
        cycle: Its clock.
        time_ps: The kernel's time.
        decisions: Of timing mode, per core.
        start: State by part before the run.
        state: State by part at the instant.
        inputs: Input tensors by name.
    """

    platform: str
    platform_hash: str
    firmware_hash: str
    mode: str
    position: int
    core: str
    pc: int
    cycle: int
    time_ps: int
    decisions: dict[int, list[tuple[int, int]]]
    start: dict[str, str]
    state: dict[str, str]
    inputs: dict[str, NDArray[Any]] = field(default_factory=dict)

    def save(self, path: str | Path) -> Path:
        """Writes the file, all of it or nothing, and returns its path."""
        path = Path(path)
        header = {name: getattr(self, name) for name in _FIELDS}
        header["decisions"] = {str(core): taken for core, taken in self.decisions.items()}
        text = json.dumps(header, sort_keys=True).encode()
        arrays = io.BytesIO()
        np.savez_compressed(arrays, **self.inputs)  # type: ignore[arg-type]
        body = _FRAME.pack(_MAGIC, _VERSION, len(text), len(arrays.getvalue()))
        body += text + arrays.getvalue()
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_bytes(body + hashlib.sha256(body).digest())
        part.replace(path)
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Checkpoint":
        """Reads and checks a file.

        Raises:
            CheckpointError: It is no checkpoint, of another version, cut or damaged.
            OSError: It cannot be read.
        """
        data = Path(path).read_bytes()
        if len(data) < _FRAME.size or not data.startswith(_MAGIC):
            raise CheckpointError(f"{path}: no checkpoint (it does not begin with {_MAGIC!r})")
        _, version, header_bytes, input_bytes = _FRAME.unpack_from(data)
        if version != _VERSION:
            raise CheckpointError(f"{path}: version {version}, this npuvp reads {_VERSION}")
        end = _FRAME.size + header_bytes + input_bytes
        if len(data) != end + 32:
            raise CheckpointError(f"{path}: {len(data)} bytes, its header speaks of {end + 32}")
        if hashlib.sha256(data[:end]).digest() != data[end:]:
            raise CheckpointError(f"{path}: damaged, its checksum does not fit its contents")
        try:
            header = json.loads(data[_FRAME.size : _FRAME.size + header_bytes])
            for name, kind in _FIELDS.items():
                if not isinstance(header[name], kind):
                    raise ValueError(f"{name} is no {kind.__name__}")
            header = {name: header[name] for name in _FIELDS}
            header["decisions"] = {
                int(core): [(int(pc), int(value)) for pc, value in taken]
                for core, taken in header["decisions"].items()
            }
            with np.load(io.BytesIO(data[end - input_bytes : end]), allow_pickle=False) as arrays:
                inputs = dict(arrays)
        except (KeyError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path}: malformed header: {error}") from None
        return cls(**header, inputs=inputs)

    def check_fits(self, description: Mapping[str, Any], firmware: Firmware) -> None:
        """Raises CheckpointError where the run it was made in had another platform or firmware."""
        faults = []
        if platform_hash(description) != self.platform_hash:
            faults.append(
                f"the platform {description['name']!r} is not the one that it was made on "
                f"({self.platform!r}, SHA-256 {self.platform_hash[:12]}, "
                f"not {platform_hash(description)[:12]})"
            )
        if firmware_hash(firmware) != self.firmware_hash:
            faults.append(
                f"the firmware is another one (SHA-256 {self.firmware_hash[:12]}, "
                f"not {firmware_hash(firmware)[:12]})"
            )
        if faults:
            raise CheckpointError("the checkpoint does not fit: " + "; ".join(faults))

    def check_state(self, what: str, expected: Mapping[str, str], found: Mapping[str, str]) -> None:
        """Raises CheckpointError naming the parts of the state that differ."""
        parts = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
        if parts:
            raise CheckpointError(f"{what} differs from the checkpoint in {', '.join(parts)}")
