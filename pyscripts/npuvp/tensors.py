"""Tensors of a firmware: NumPy values to bytes in the machine's memories and back."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from npuvp.errors import InputError
from npuvp.firmware import Firmware, Tensor

__all__ = ["Codec", "checked_inputs", "checked_outputs", "from_bytes", "is_integer", "to_pieces"]


class Codec(Protocol):
    """Converts rows between float32 and a storage format: the simulator's, or the golden one."""

    def encode_rows(
        self, rows: NDArray[np.float32], format: str, block: int, /
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Packed elements and scales of all rows, each row by itself."""

    def decode_rows(
        self,
        elements: NDArray[np.uint8],
        scales: NDArray[np.uint8],
        format: str,
        block: int,
        n: int,
        length: int,
        /,
    ) -> NDArray[np.float32]:
        """The reverse, shape (n, length)."""

    def element_bytes(self, format: str, n: int, /) -> int:
        """Bytes of n packed elements."""


_INTEGER = {
    "raw32": (np.int64(-(2**31)), np.int64(2**32 - 1)),
    "raw8": (np.int64(0), np.int64(255)),
}
_PLENA = "plena_e4m3"


def is_integer(tensor: Tensor) -> bool:
    """Whether the tensor holds integers, which both data modes execute."""
    return tensor.format in _INTEGER


def _format(tensor: Tensor) -> str:
    return _PLENA if tensor.format == "plena" else tensor.format


def _check(tensor: Tensor, value: ArrayLike) -> tuple[NDArray[Any] | None, list[str]]:
    array = np.asarray(value)
    faults = []
    if array.shape != tensor.shape:
        faults.append(f"{tensor.name}: shape {array.shape}, the firmware declares {tensor.shape}")
    if is_integer(tensor):
        low, high = _INTEGER[tensor.format]
        if array.dtype.kind not in "iub":
            faults.append(f"{tensor.name}: type {array.dtype}, {tensor.format} takes integers")
        elif array.size and (array.min() < low or array.max() > high):
            faults.append(
                f"{tensor.name}: values {array.min()}..{array.max()}, "
                f"{tensor.format} takes {low}..{high}"
            )
    elif array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        faults.append(f"{tensor.name}: type {array.dtype}, {tensor.format} takes floats")
    return (None if faults else array), faults


def checked_inputs(
    firmware: Firmware,
    inputs: Mapping[str, ArrayLike],
    *,
    integers_only: bool,
    loaded: Collection[str] = (),
) -> dict[str, NDArray[Any]]:
    """Holds the inputs against the tensors that the firmware declares.

    Args:
        firmware: Declares the tensors.
        inputs: Values by name.
        integers_only: Timing mode: inputs of floats may be left out.
        loaded: Names of inputs whose memory is filled otherwise: they may be left out.

    Raises:
        InputError: Unknown or missing names, wrong shapes, types or ranges: all of them.
    """
    faults: list[str] = []
    result: dict[str, NDArray[Any]] = {}
    wanted = {n: t for n, t in firmware.tensors.items() if t.direction in ("in", "inout")}
    for name, value in inputs.items():
        tensor = wanted.get(name)
        if tensor is None:
            what = "is an output" if name in firmware.tensors else "is no tensor of this firmware"
            faults.append(f"{name}: {what} (inputs: {', '.join(wanted) or 'none'})")
            continue
        array, wrong = _check(tensor, value)
        faults += wrong
        if array is not None:
            result[name] = array
    for name, tensor in wanted.items():
        if (
            name not in inputs
            and name not in loaded
            and tensor.direction == "in"
            and not (integers_only and not is_integer(tensor))
        ):
            faults.append(f"{name}: missing, {tensor.format} of shape {tensor.shape}")
    if faults:
        raise InputError("inputs do not fit the firmware:\n  " + "\n  ".join(faults))
    return result


def checked_outputs(firmware: Firmware, outputs: Iterable[str] | None) -> list[Tensor]:
    """The tensors to fetch: those named, or every output.

    Raises:
        InputError: A name that is no output.
    """
    known = {n: t for n, t in firmware.tensors.items() if t.direction in ("out", "inout")}
    if outputs is None:
        return list(known.values())
    faults = [name for name in outputs if name not in known]
    if faults:
        raise InputError(
            f"no such output: {', '.join(faults)} (outputs: {', '.join(known) or 'none'})"
        )
    return [known[name] for name in outputs]


def to_pieces(
    tensor: Tensor, array: NDArray[Any], unit_bytes: int, storage: str, codec: Codec
) -> list[tuple[int, NDArray[np.uint8]]]:
    """The tensor's contents as (byte offset in its space, bytes).

    Args:
        tensor: Where it stands.
        array: Its value.
        unit_bytes: Bytes of the space's address unit (1 in HBM).
        storage: Element format in that place.
        codec: Does the conversion.
    """
    rows = np.ascontiguousarray(array).reshape(tensor.rows, tensor.shape[-1])
    scales = np.zeros(0, np.uint8)
    if is_integer(tensor):
        width = np.uint32 if tensor.format == "raw32" else np.uint8
        # What has the width already is taken as it is: large inputs are.
        wide = rows if rows.dtype.itemsize == width(0).itemsize else rows.astype(np.int64)
        data = wide.astype(width, copy=False).view(np.uint8).reshape(-1)
    else:
        data, scales = codec.encode_rows(
            np.ascontiguousarray(rows, np.float32), storage, tensor.block
        )
    base = tensor.address * unit_bytes
    row_bytes = len(data) // tensor.rows
    pitch = (tensor.pitch or tensor.row_units) * unit_bytes
    if pitch == row_bytes:
        pieces = [(base, data)]
    else:
        # One write for all rows: the gaps between them belong to the tensor.
        spread = np.zeros(((tensor.rows - 1) * pitch + row_bytes,), np.uint8)
        view = np.lib.stride_tricks.as_strided(spread, (tensor.rows, row_bytes), (pitch, 1))
        view[:] = data.reshape(tensor.rows, row_bytes)
        pieces = [(base, spread)]
    if len(scales):
        pieces.append((tensor.scales, scales))
    return pieces


def from_bytes(
    tensor: Tensor, read: Any, unit_bytes: int, storage: str, codec: Codec
) -> NDArray[Any]:
    """The tensor's value, from `read(byte offset, count)`.

    Returns:
        int32 for raw32, uint8 for raw8, else float32; shape as declared.
    """
    row_bytes = (
        tensor.shape[-1] * (4 if tensor.format == "raw32" else 1)
        if is_integer(tensor)
        else codec.element_bytes(storage, tensor.shape[-1])
    )
    pitch = (tensor.pitch or tensor.row_units) * unit_bytes
    data = read(tensor.address * unit_bytes, (tensor.rows - 1) * pitch + row_bytes)
    rows = np.ascontiguousarray(
        np.lib.stride_tricks.as_strided(data, (tensor.rows, row_bytes), (pitch, 1))
    ).reshape(-1)
    if is_integer(tensor):
        return rows.view(np.int32 if tensor.format == "raw32" else np.uint8).reshape(tensor.shape)
    scales = read(tensor.scales, tensor.scale_size) if tensor.scale_size else np.zeros(0, np.uint8)
    values: NDArray[Any] = codec.decode_rows(
        rows, scales, storage, tensor.block, tensor.rows, tensor.shape[-1]
    )
    return values.reshape(tensor.shape)
