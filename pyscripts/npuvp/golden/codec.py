"""Tensors to bytes and back with the golden conversions; same calls as ``npuvp._core.convert``."""

import numpy as np
from numpy.typing import NDArray

from npuvp.golden.mx import mx_decode_row, mx_element_bytes, mx_encode_row, mx_scale_bytes

__all__ = ["GoldenCodec"]


class GoldenCodec:
    """A `npuvp.tensors.Codec` in NumPy."""

    def encode_rows(
        self, rows: NDArray[np.float32], format: str, block: int, /
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Packed elements and scales of all rows, each row by itself; both flat."""
        elements, scales = mx_encode_row(format, block, rows)
        return elements.reshape(-1), scales.reshape(-1)

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
        return mx_decode_row(
            format,
            block,
            elements.reshape(n, mx_element_bytes(format, length)),
            scales.reshape(n, mx_scale_bytes(format, block, length)),
            length,
            "fp32",
        )

    def element_bytes(self, format: str, n: int, /) -> int:
        """Bytes of n packed elements."""
        return mx_element_bytes(format, n)
