"""Where everything stands: weights, cache and activations in HBM, state in INT SRAM."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from npuvp.baos import CacheFormat, kv_block
from npuvp.compiler.errors import CompileError
from npuvp.compiler.formats import ALIGN, ELEMENTS, Formats, Stored, stored
from npuvp.compiler.geometry import Geometry
from npuvp.compiler.key_tiles import KeyTiles
from npuvp.firmware import DataSegment
from npuvp.golden.mx import mx_encode_row
from npuvp.model.checkpoint import Checkpoint
from npuvp.model.spec import ModelSpec

__all__ = ["Allocator", "Geometry", "Layout", "Region", "Shape"]

BF16 = np.dtype(ml_dtypes.bfloat16)


@dataclass(frozen=True)
class Shape:
    """The static sizes of a generation.

    Attributes:
        batch: Rows of a forward call: B, or 2 B under guidance, first those with the prompt.
        samples: Rows that are written, B.
        prompt: P.
        length: L = P + G.
        calls: Most forward calls that can happen.
        span: Positions that are usually sampled at once, K.
        block: Length of the blocks between which attention is causal; 0: there are none.
        unseen: Positions at the beginning that no call sees.
    """

    batch: int
    samples: int
    prompt: int
    length: int
    calls: int
    span: int
    block: int = 0
    unseen: int = 0

    @property
    def key_masks(self) -> int:
        """Masks of keys: one for every row of the batch, or one for every number of blocks."""
        return self.length // self.block if self.block else self.batch


class Region(NamedTuple):
    """A part of a memory."""

    name: str
    address: int
    size: int

    def __str__(self) -> str:
        return f"{self.address:#014x} {self.size:>14,}  {self.name}"


class Allocator:
    """Hands out one memory from its beginning.

    Args:
        memory: Its name, for messages.
        size: Units that it has.
        align: Multiple at which regions begin.
        unit: What sizes are counted in, for messages.

    Attributes:
        used: Units up to the end of the last region.
    """

    def __init__(self, memory: str, size: int, align: int = 1, unit: str = "words"):
        self.memory = memory
        self.size = size
        self.align = align
        self.unit = unit
        self.used = 0
        self._taken: list[tuple[str, int, int]] = []

    @property
    def regions(self) -> list[Region]:
        """What was handed out."""
        return [Region(*taken) for taken in self._taken]

    def take(self, name: str, size: int, align: int = 0) -> int:
        """Address of a new region.

        Args:
            name: For messages.
            size: Units.
            align: Multiple at which it begins; 0: that of the memory.

        Raises:
            CompileError: It does not fit.
        """
        align = align or self.align
        address = -(-self.used // align) * align
        if address + size > self.size:
            raise CompileError(
                [
                    f"{name}: {size:,} {self.unit}, but {self.memory} has {self.size:,} and "
                    f"{address:,} of them are taken"
                ]
            )
        self._taken.append((name, address, size))
        self.used = address + size
        return address


@dataclass
class Layout:
    """Addresses in HBM.

    Attributes:
        positions: Rotary positions (batch, L); None: 0..L - 1.
        numbers: Small tables of float32 that the sampler reads, by name.
        edited: Tokens whose logits the sampler hides.
        statistics: Words that the head keeps of every position.
        formats: Of classes of tensors.
        kv_format: Of the cache, where `formats` does not say.
        cores: That share the work.
        restricted: Whether logits are gone through more than once, to find out which tokens remain.
        offsets: Of a layer's tensors from its base, in bytes.
        stored: Matrices and tables of numbers by name; those of a layer from its base, all others
            from their own address.
        layer_base, layer_stride: Bytes; layer i begins at layer_base + i * layer_stride.
        quantised_cache: Whether keys or values are in an MX format.
        smoothed_cache: Whether BAOS normalises them.
        key_tiles: How the keys of a row of the batch are divided.
    """

    spec: ModelSpec
    shape: Shape
    geometry: Geometry
    positions: NDArray[np.int32] | None = None
    numbers: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    edited: tuple[int, ...] = ()
    statistics: int = 3
    formats: Formats = field(default_factory=Formats)
    kv_format: str = "bf16"
    cores: int = 1
    restricted: bool = False
    offsets: dict[str, int] = field(default_factory=dict)
    addresses: dict[str, int] = field(default_factory=dict)
    stored: dict[str, Stored] = field(default_factory=dict)
    layer_base: int = 0
    layer_stride: int = 0
    quantised_cache: bool = field(init=False)
    smoothed_cache: bool = field(init=False)
    key_tiles: KeyTiles = field(init=False)

    def __post_init__(self) -> None:
        spec, shape, width, formats = self.spec, self.shape, self.geometry.width, self.formats
        keys, values = self.cache("keys"), self.cache("values")
        self.quantised_cache = keys.quantised or values.quantised
        self.smoothed_cache = keys.smoothed
        self.key_tiles = KeyTiles.plan(spec, self.geometry, shape.batch, shape.length, self.cores)
        tokens = shape.batch * shape.length
        memory = Allocator("HBM", self.geometry.hbm_bytes, ALIGN, "bytes")
        sizes = {
            "tokens": 4 * tokens,
            "canvas_log": 4 * tokens * shape.calls,
            "transfer_log": 2 * shape.samples * shape.length * shape.calls,
            "call_log": 32 * shape.calls,
            "key_mask": shape.key_masks * self.mask_bytes,
            "vocab_mask": 2 * width * (1 + len(self.edited)),
        }
        sizes |= {name: 4 * len(table) for name, table in self.numbers.items()}
        for name, size in sizes.items():
            self.addresses[name] = memory.take(name, size)
        faults: list[str] = []
        for table, rows in self._tables_of_the_model():
            self._place(table, rows, memory, faults)
        self.addresses["head_input"] = self.addresses["x"]
        if spec.logit_shift:
            self.addresses["x"] += self.shape.batch * self.stored["x"].pitch
        if formats.activations != "bf16":
            faults += [
                fault
                for columns in (spec.hidden, spec.heads * spec.head_dim, self.inner)
                if (fault := self.activations(columns).fault())
            ]
            room = 2 * self.geometry.vector_rows * width
            self.addresses["activations"] = memory.take("activations", self.cores * room)
        if self.cores > 1:
            size = self.cores * self.statistics_bytes
            self.addresses["statistics"] = memory.take("statistics", size)
        if spec.tied_head:
            self.addresses["head"] = self.addresses["embedding"]
            self.stored["head"] = self.stored["embedding"]
        layer = Allocator("a layer (32-bit offsets)", 1 << 32, ALIGN, "bytes")
        for table, rows in self._tables_of_a_layer():
            self._place(table, rows, layer, faults, layered=True)
        if faults:
            raise CompileError(faults)
        self.layer_stride = -(-layer.used // ALIGN) * ALIGN
        self.layer_base = memory.take("layers", spec.layers * self.layer_stride)
        self._memory = memory

    @property
    def regions(self) -> list[Region]:
        """Everything, in order."""
        return self._memory.regions

    def _tables_of_the_model(self) -> Iterator[tuple[Stored, int]]:
        """Tables with their rows."""
        spec, formats, width = self.spec, self.formats, self.geometry.width
        tokens = self.shape.batch * self.shape.length
        q_columns, kv_columns = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
        angles = tokens // self.qkv_tile[1]
        yield stored("cosine", 0, width), angles
        yield stored("sine", 0, width), angles
        yield stored("final_norm", 0, spec.hidden), 1
        embedding = ELEMENTS[formats.embedding]
        yield stored("embedding", 0, spec.hidden, embedding, formats.block), spec.vocab
        if not spec.tied_head:
            head = ELEMENTS[formats.head or formats.weights]
            yield self._weights("head", spec.vocab, spec.hidden, head), spec.vocab
        elif formats.head not in (None, formats.embedding):
            raise CompileError(
                [
                    f"formats.head: {formats.head!r}, but head and embedding are one tensor in "
                    f"{formats.embedding!r}"
                ]
            )
        # A position is predicted by the row before it: one position more in front.
        ahead = self.shape.batch if spec.logit_shift else 0
        yield stored("x", 0, spec.hidden), tokens + ahead
        yield stored("q", 0, q_columns), tokens
        yield stored("o", 0, q_columns), tokens
        yield stored("gated", 0, self.inner), tokens
        if self.quantised_cache:
            yield stored("fresh_keys", 0, kv_columns), tokens
            yield stored("fresh_values", 0, kv_columns), tokens
        if self.stores_logits:
            yield self.logits, self.whole_positions

    def _tables_of_a_layer(self) -> Iterator[tuple[Stored, int]]:
        spec, formats, shape = self.spec, self.formats, self.shape
        q_columns, kv_columns = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
        yield stored("attn_norm", 0, spec.hidden), 1
        yield stored("mlp_norm", 0, spec.hidden), 1
        if spec.moe is not None:
            yield stored("weights.router", 0, spec.hidden), spec.moe.experts
        for role, columns in (("q", q_columns), ("k", kv_columns), ("v", kv_columns)):
            if spec.qkv_bias:
                yield stored(f"{role}_bias", 0, columns), 1
            if spec.qk_norm and role != "v":
                yield stored(f"{role}_norm", 0, self.geometry.width), 1
        weights = ELEMENTS[formats.weights]
        for role, outputs, inputs in (
            ("q", q_columns, spec.hidden),
            ("k", kv_columns, spec.hidden),
            ("v", kv_columns, spec.hidden),
            ("o", spec.hidden, q_columns),
            *self._mlp(),
        ):
            each = outputs // (
                1 if spec.moe is None or role in ("q", "k", "v", "o") else spec.moe.experts
            )
            yield self._weights(f"weights.{role}", each, inputs, weights), outputs
        for role in ("keys", "values"):
            cache = self.cache(role)
            block = kv_block(spec.head_dim) if cache.quantised else 32
            rows = shape.batch * shape.length
            yield stored(role, 0, kv_columns, cache.element, block), rows
            if cache.smoothed:
                yield stored(f"{role}.factors", 0, kv_columns), shape.batch
                yield stored(f"{role}.inverse", 0, kv_columns), shape.batch

    def _weights(self, name: str, rows: int, columns: int, element: str) -> Stored:
        """A streamed matrix: pieces of a row of Matrix SRAM for all outputs (of an expert)."""
        table = stored(name, 0, columns, element, self.formats.block)
        mlen = self.geometry.mlen
        if columns == mlen or columns % mlen or (table.scaled and mlen % table.block):
            return table
        return stored(name, 0, columns, element, self.formats.block, 0, mlen, rows)

    @property
    def inner(self) -> int:
        """Inner width of the MLP, or of an expert."""
        return self.spec.mlp if self.spec.moe is None else self.spec.moe.mlp

    def _mlp(self) -> Iterator[tuple[str, int, int]]:
        """Matrices of the MLP with outputs and inputs, those of all experts one below the other."""
        experts = 1 if self.spec.moe is None else self.spec.moe.experts
        prefix = "" if self.spec.moe is None else "expert_"
        yield f"{prefix}gate", experts * self.inner, self.spec.hidden
        yield f"{prefix}up", experts * self.inner, self.spec.hidden
        yield f"{prefix}down", experts * self.spec.hidden, self.inner

    def cache(self, role: str) -> CacheFormat:
        """Format of `keys` or `values`."""
        return self.formats.cache(role, self.kv_format)

    def activations(self, columns: int) -> Stored:
        """A tile of inputs of a product, on its way through memory."""
        formats = self.formats
        elements = self.geometry.vector_rows * self.geometry.width
        element = ELEMENTS[formats.activations]
        return Stored("activations", 0, columns, element, formats.block, scales=elements)

    def _place(
        self,
        table: Stored,
        rows: int,
        memory: Allocator,
        faults: list[str],
        layered: bool = False,
    ) -> None:
        """Takes room for elements and scales; a layer's tables keep their offsets in `stored`."""
        if fault := table.fault():
            faults.append(fault)
            return
        at = memory.take(table.name, rows * table.row_bytes, table.align if layered else ALIGN)
        scales = at
        if table.scaled:
            scales = memory.take(f"{table.name}.scales", table.scale_bytes(rows))
        if layered:
            self.offsets[table.name] = at
            self.stored[table.name] = table.placed(at, scales)
        else:
            self.addresses[table.name] = at
            self.stored[table.name] = table.placed(0, scales - at)

    @property
    def projection_rows(self) -> int:
        """Rows of Vector SRAM for biases and norms of heads."""
        return int(self.spec.qkv_bias) + 2 * int(self.spec.qk_norm)

    @property
    def qkv_tile(self) -> tuple[int, int]:
        """Rows of a tile of the projections, and how many of them follow each other at the same
        position and share a row of the rotary tables.

        Raises:
            CompileError: Not even the smallest tile fits.
        """
        geometry, shape = self.geometry, self.shape
        blocks = -(-self.spec.hidden // geometry.width)
        fixed = blocks + 1 + self.projection_rows
        fixed += shape.batch if self.smoothed_cache else 0
        most = shape.length * shape.batch
        for alike in dict.fromkeys((shape.batch if self.positions is None else 1, 1)):
            unit = math.lcm(geometry.group, alike)
            rows = unit * (blocks + 1) + 2 * unit // alike
            number = min((geometry.vector_rows - fixed) // rows, -(-most // unit))
            if number > 0:
                return number * unit, alike
        raise CompileError(
            [
                f"phase qkv: {blocks + 3} rows per token for {geometry.group} tokens and {fixed} more "
                f"take {geometry.group * (blocks + 3) + fixed} rows of {geometry.width}, Vector SRAM "
                f"has {geometry.vector_rows}"
            ]
        )

    @property
    def mask_bytes(self) -> int:
        """Of a mask of keys."""
        return 2 * self.geometry.width * self.key_tiles.blocks * self.key_tiles.count

    @property
    def stores_logits(self) -> bool:
        """Whether logits go through memory on their way to sampling."""
        return self.cores > 1 or self.formats.logits != "bf16" or self.restricted

    @property
    def logits(self) -> Stored:
        """Logits of a tile of positions."""
        block = self.formats.block
        columns = -(-self.spec.vocab // block) * block
        return Stored("logits", 0, columns, ELEMENTS[self.formats.logits], block)

    @property
    def whole_positions(self) -> int:
        """Rows of a tile of the head that holds all rows of each of its positions.

        Raises:
            CompileError: Not even the smallest fits.
        """
        geometry, batch = self.geometry, self.shape.batch
        blocks = -(-self.spec.hidden // geometry.width)
        whole = math.lcm(geometry.group, batch)
        room = (geometry.vector_rows - blocks - self.head_rows) // (blocks + 1) // whole
        if room == 0:
            raise CompileError(
                [
                    f"phase head: {whole} rows (groups of {geometry.group}, positions of {batch}) "
                    "do not fit in Vector SRAM"
                ]
            )
        return min(room, -(-self.shape.span * batch // whole)) * whole

    @property
    def head_rows(self) -> int:
        """Rows of Vector SRAM that the head takes beside tiles and the weights of the norm."""
        return 5 + len(self.edited) + 2 * int(self.restricted)

    @property
    def statistics_bytes(self) -> int:
        """Of what the head of a core keeps of all positions."""
        return 4 * self.statistics * self.shape.samples * self.shape.length

    # Contents

    def constants(self, padding: NDArray[np.bool_] | None) -> list[DataSegment]:
        """Small tables that go into the firmware.

        Args:
            padding: Which prompt tokens are seen, shape (batch, P); None: all.
        """
        width, shape = self.geometry.width, self.shape
        seen = np.ones((shape.key_masks, shape.length), bool)
        if shape.block:
            ends = (1 + np.arange(shape.key_masks)) * shape.block
            key = np.arange(shape.length)
            seen[:] = (key < ends[:, None]) & (key >= shape.unseen)
        if padding is not None:
            seen[:, : shape.prompt] = padding
        vocab = np.zeros((1 + len(self.edited), width), np.float32)
        vocab[0, : self.spec.vocab % width or width] = 1
        for row, token in enumerate(self.edited, 1):
            vocab[row] = np.arange(width) != token % width
        numbers = [
            DataSegment("hbm", self.addresses[name], "raw8", table.astype("<f4").tobytes())
            for name, table in self.numbers.items()
        ]
        return [
            self._segment("key_mask", self.key_tiles.mask(seen)),
            self._segment("vocab_mask", vocab),
            *numbers,
        ]

    def weights(self, checkpoint: Checkpoint) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Addresses and contents of everything that is large: weights and rotary tables."""
        spec = self.spec
        cosine, sine = self._tables()
        yield self.addresses["cosine"], _bytes(cosine)
        yield self.addresses["sine"], _bytes(sine)
        yield self.addresses["final_norm"], _bytes(checkpoint.tensor("final_norm"))
        yield from self._matrix(self.addresses["embedding"], "embedding", checkpoint, "embedding")
        if not spec.tied_head:
            yield from self._matrix(self.addresses["head"], "head", checkpoint, "head")
        for layer in range(spec.layers):
            base = self.layer_base + layer * self.layer_stride
            for role in ("attn_norm", "mlp_norm"):
                yield base + self.offsets[role], _bytes(checkpoint.tensor(role, layer))
            for role in ("q_bias", "k_bias", "v_bias"):
                if spec.qkv_bias:
                    yield base + self.offsets[role], _bytes(checkpoint.tensor(role, layer))
            for role in ("q_norm", "k_norm"):
                if spec.qk_norm:
                    heads = self.geometry.width // spec.head_dim
                    tiled = np.tile(checkpoint.tensor(role, layer), heads)
                    yield base + self.offsets[role], _bytes(tiled)
            dense = ("gate", "up", "down") if spec.moe is None else ("router",)
            for role in ("q", "k", "v", "o", *dense):
                yield from self._matrix(base, f"weights.{role}", checkpoint, role, layer)
            for expert in range(0 if spec.moe is None else spec.moe.experts):
                for role in ("expert_gate", "expert_up", "expert_down"):
                    yield from self._matrix(
                        base, f"weights.{role}", checkpoint, role, layer, expert
                    )

    def _matrix(
        self,
        base: int,
        name: str,
        checkpoint: Checkpoint,
        role: str,
        layer: int | None = None,
        expert: int | None = None,
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Elements and scales of a matrix, in the format of its class."""
        table = self.stored[name]
        values = checkpoint.tensor(role, layer, expert)
        if expert:
            rows = expert * len(values)
            scales = table.scale_bytes(rows) if table.scaled else 0
            table = replace(
                table, offset=table.offset + rows * table.row_bytes, scales=table.scales + scales
            )
        if not table.scaled:
            yield base + table.offset, _bytes(table.in_pieces(values))
            return
        bits = np.ascontiguousarray(values).astype(BF16).view(np.uint16)
        elements, exponents = mx_encode_row(table.element, table.block, bits)
        for at, part in ((table.offset, elements), (table.scales, exponents)):
            yield base + at, np.ascontiguousarray(table.in_pieces(part)).reshape(-1)

    def _segment(self, name: str, values: NDArray[np.float32]) -> DataSegment:
        return DataSegment("hbm", self.addresses[name], "raw8", _bytes(values).tobytes())

    def _tables(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Cosine and signed sine of every position and lane, rows as the tokens stand."""
        spec, shape = self.spec, self.shape
        half = spec.rotary_dim // 2
        exponent = np.arange(0, 2 * half, 2, dtype=np.float32) / np.float32(2 * half)
        inverse = np.float32(1) / np.power(np.float32(spec.rope_theta), exponent)
        positions = self.positions
        if positions is None:
            rows = shape.batch // self.qkv_tile[1]
            positions = np.tile(np.arange(shape.length, dtype=np.int32), (rows, 1))
        position = positions.T.reshape(-1).astype(np.float32)
        angle = position[:, None] * inverse.astype(np.float32)
        channel = np.arange(self.geometry.width) % spec.head_dim
        sign = np.where(channel < half, np.float32(-1), np.float32(1))
        turned = channel < 2 * half
        cosine = np.where(turned, np.cos(angle)[:, channel % half], np.float32(1))
        sine = np.where(turned, np.sin(angle)[:, channel % half] * sign, np.float32(0))
        return cosine, sine


def _bytes(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """The values in BF16."""
    rounded = np.ascontiguousarray(values).astype(BF16)
    return rounded.view(np.uint8).reshape(-1)
