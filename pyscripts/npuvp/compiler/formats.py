"""Number formats of what lies in memory, per class of tensors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import yaml
from numpy.typing import NDArray

from npuvp.baos import CacheFormat
from npuvp.compiler.errors import CompileError
from npuvp.golden.dma import FORMATS
from npuvp.golden.mx import mx_scale_bytes, mx_traits

__all__ = ["ALIGN", "ELEMENTS", "Formats", "Stored", "stored"]

#: Names of element formats, and what the DMA engine calls them.
ELEMENTS = {
    "bf16": "bf16",
    "mxfp8_e4m3": "mxfp8_e4m3",
    "mxfp8_e5m2": "mxfp8_e5m2",
    "mxfp6_e3m2": "mxfp6_e3m2",
    "mxfp6_e2m3": "mxfp6_e2m3",
    "mxfp4": "mxfp4_e2m1",
    "mxint8": "mxint8",
    "mxint4": "mxint4",
}
_BLOCKS = (8, 16, 32)
#: Multiple of bytes at which everything in HBM begins.
ALIGN = 64


@dataclass(frozen=True)
class Formats:
    """Formats by class of tensors; names are the keys of `ELEMENTS`.

    Attributes:
        weights: Matrices of the layers.
        head: Matrix of the head; None: as `weights`, or as `embedding` where they are one tensor.
        embedding: Rows of the embedding.
        activations: Inputs of all products with weights. Between operations activations are BF16.
        keys, values: Cache; None: what the plan's `kv_format` says.
        logits: What sampling sees.
        block: Elements that share a scale, along the sum of a product.
    """

    weights: str = "bf16"
    head: str | None = None
    embedding: str = "bf16"
    activations: str = "bf16"
    keys: str | None = None
    values: str | None = None
    logits: str = "bf16"
    block: int = 32

    def __post_init__(self) -> None:
        faults = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "block":
                if value not in _BLOCKS or isinstance(value, bool):
                    faults.append(f"formats.block: {value!r}, allowed: 8, 16, 32")
            elif value is None and field.default is None:
                continue
            elif not isinstance(value, str) or value not in ELEMENTS:
                faults.append(f"formats.{field.name}: {value!r}, allowed: {', '.join(ELEMENTS)}")
        if faults:
            raise CompileError(faults)

    @classmethod
    def of(cls, source: "Formats | Mapping[str, Any] | str | Path | None") -> "Formats":
        """From a mapping, or a YAML file that holds one; None: everything in BF16.

        Raises:
            CompileError: Unknown classes or formats, or a file that is no mapping.
        """
        if source is None:
            return cls()
        if isinstance(source, Formats):
            return source
        place = ""
        if isinstance(source, str | Path):
            place = f"{source}: "
            try:
                source = yaml.safe_load(Path(source).read_text())
            except (OSError, yaml.YAMLError) as fault:
                raise CompileError([f"{place}{fault}"]) from fault
        if not isinstance(source, Mapping):
            raise CompileError([f"{place}formats: {source!r}, allowed: a mapping of classes"])
        if all(type(value) in (int, str) for value in source.values()):
            return _formats(tuple(source.items()), place)
        return cls._of_classes(source, place)

    @classmethod
    def _of_classes(cls, source: Mapping[str, Any], place: str) -> "Formats":
        known = [field.name for field in fields(cls)]
        unknown = [key for key in source if key not in known]
        if unknown:
            raise CompileError(
                [
                    f"{place}formats.{key}: no such class (allowed: {', '.join(known)})"
                    for key in unknown
                ]
            )
        return cls(**source)

    def cache(self, role: str, kv_format: str) -> CacheFormat:
        """Of `keys` or `values`."""
        format = CacheFormat.parse(kv_format)
        own = getattr(self, role)
        return format if own is None else replace(format, element=ELEMENTS[own])


@lru_cache(maxsize=256)
def _formats(source: tuple[tuple[str, Any], ...], place: str) -> Formats:
    return Formats._of_classes(dict(source), place)


@dataclass(frozen=True)
class Stored:
    """Rows of numbers in memory, scales of MX blocks in a place of their own.

    Attributes:
        name: For messages.
        offset: Of the first element, in bytes from an address register.
        columns: Elements of a row; rows are packed.
        element: As the DMA engine calls the format.
        block: Elements that share a scale.
        scales: Of the first scale, in bytes from the same register.
        piece: Columns that lie together for all rows before the next ones do, so that a panel of
            weights is one stretch of memory; 0: rows are whole.
        rows: Of a matrix in pieces.
    """

    name: str
    offset: int
    columns: int
    element: str = "bf16"
    block: int = 32
    scales: int = 0
    piece: int = 0
    rows: int = 0

    @cached_property
    def bits(self) -> int:
        """Of an element."""
        return mx_traits(self.element).element_bits

    @cached_property
    def scaled(self) -> bool:
        """Whether there are scales."""
        return mx_traits(self.element).scaled

    @cached_property
    def align(self) -> int:
        """Multiple of bytes at which it begins where offsets of its scales are to be whole."""
        return math.lcm(ALIGN, self.ratio)

    @property
    def ratio(self) -> int:
        """Bytes of elements that share a scale byte; 1 without scales."""
        return self.bits * self.block // 8 if self.scaled else 1

    @cached_property
    def pitch(self) -> int:
        """Bytes from row to row, scales not counted."""
        return self.bytes_of(self.piece or self.columns)

    def step(self, columns: int) -> int:
        """Bytes from a piece of so many columns to the next one of the same row."""
        return self.rows * self.pitch if self.piece else self.bytes_of(columns)

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of a whole row, scales not counted."""
        return self.bytes_of(self.columns)

    @property
    def number(self) -> int:
        """What control register `dma_format` holds."""
        return FORMATS.index(self.element)

    @property
    def distance(self) -> int:
        """What control registers `scale` and `dma_scale_hi` hold: the DMA engine adds the offset
        divided by `ratio`."""
        return self.scales - self.offset // self.ratio

    def bytes_of(self, columns: int) -> int:
        """Bytes of elements of a part of a row."""
        return (columns * self.bits + 7) // 8

    def scale_bytes(self, rows: int) -> int:
        """Bytes of all scales of so many rows."""
        return rows * mx_scale_bytes(self.element, self.block, self.columns)

    def in_pieces(self, values: NDArray[Any]) -> NDArray[Any]:
        """Whole rows (rows, n), n units that follow each other for each row, as they lie in memory."""
        if not self.piece:
            return values
        pieces = self.columns // self.piece
        return values.reshape(self.rows, pieces, -1).transpose(1, 0, 2)

    def placed(self, offset: int, scales: int) -> "Stored":
        """The same rows at a place."""
        return stored(
            self.name,
            offset,
            self.columns,
            self.element,
            self.block,
            scales,
            self.piece,
            self.rows,
        )

    def fault(self) -> str | None:
        """Why blocks do not fit into rows, if so."""
        if self.scaled and self.columns % self.block:
            return (
                f"{self.name}: rows of {self.columns} elements in {self.element}, "
                f"blocks of {self.block} do not divide them"
            )
        return None


@lru_cache(maxsize=16384)
def stored(
    name: str,
    offset: int,
    columns: int,
    element: str = "bf16",
    block: int = 32,
    scales: int = 0,
    piece: int = 0,
    rows: int = 0,
) -> Stored:
    """One object for equal rows: closed forms make the same ones for every design point."""
    return Stored(name, offset, columns, element, block, scales, piece, rows)
