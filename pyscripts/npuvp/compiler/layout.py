"""Where everything stands: weights, cache and activations in HBM, state in INT SRAM."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from npuvp.compiler.errors import CompileError
from npuvp.firmware import DataSegment
from npuvp.model.checkpoint import Checkpoint
from npuvp.model.spec import ModelSpec

__all__ = ["Allocator", "Geometry", "Layout", "Region", "Shape"]

BF16 = np.dtype(ml_dtypes.bfloat16)
_ALIGN = 64


@dataclass(frozen=True)
class Geometry:
    """What the compiler needs to know of a core.

    Attributes:
        width: Lanes of a row, VLEN = MLEN.
        blen: Outputs of a matrix product.
        group: Rows of a matrix product.
        vector_rows, matrix_rows: Rows of the SRAMs.
        int_words, fp_words: Words of the SRAMs.
        hbm_bytes: Size of the first memory.
    """

    width: int
    blen: int
    group: int
    vector_rows: int
    matrix_rows: int
    int_words: int
    fp_words: int
    hbm_bytes: int

    @classmethod
    def of(cls, description: dict[str, object]) -> "Geometry":
        """The geometry of the first core of a platform's description.

        Raises:
            CompileError: What the compiler does not support.
        """
        cores = description["cores"]
        memories = description["hbms"]
        assert isinstance(cores, list)
        assert isinstance(memories, list)
        p = cores[0]["parameters"]
        faults = []
        if p["mlen"] != p["vlen"]:
            faults.append(f"core.mlen: {p['mlen']}, allowed: vlen = {p['vlen']}")
        for name in ("vector_format", "matrix_format"):
            if p[name] != "bf16":
                faults.append(f"core.{name}: {p[name]}, allowed: bf16")
        if p["fp_format"] != "fp32":
            faults.append(f"core.fp_format: {p['fp_format']}, allowed: fp32")
        if not memories:
            faults.append("no memory on this platform")
        if faults:
            raise CompileError(faults)
        return cls(
            width=p["vlen"],
            blen=p["blen"],
            group=p["blen"] * p["matrix_rows"],
            vector_rows=p["vector_sram_bytes"] // (2 * p["vlen"]),
            matrix_rows=p["matrix_sram_bytes"] // (2 * p["mlen"]),
            int_words=p["int_sram_words"],
            fp_words=p["fp_sram_words"],
            hbm_bytes=memories[0]["parameters"]["size"],
        )


@dataclass(frozen=True)
class Shape:
    """The static sizes of a generation.

    Attributes:
        batch: Rows of a forward call: B, or 2 B under guidance, first those with the prompt.
        samples: Rows that are written, B.
        prompt: P.
        length: L = P + G.
        calls: Most forward calls that can happen.
    """

    batch: int
    samples: int
    prompt: int
    length: int
    calls: int


@dataclass(frozen=True)
class Region:
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
    """

    def __init__(self, memory: str, size: int, align: int = 1, unit: str = "words"):
        self.memory = memory
        self.size = size
        self.align = align
        self.unit = unit
        self.regions: list[Region] = []

    @property
    def used(self) -> int:
        """Units up to the end of the last region."""
        last = self.regions[-1] if self.regions else Region("", 0, 0)
        return last.address + last.size

    def take(self, name: str, size: int) -> int:
        """Address of a new region.

        Raises:
            CompileError: It does not fit.
        """
        address = -(-self.used // self.align) * self.align
        if address + size > self.size:
            raise CompileError(
                [
                    f"{name}: {size:,} {self.unit}, but {self.memory} has {self.size:,} and "
                    f"{address:,} of them are taken"
                ]
            )
        self.regions.append(Region(name, address, size))
        return address


@dataclass
class Layout:
    """Addresses in HBM.

    Attributes:
        edited: Tokens whose logits the sampler hides.
        regions: Everything, in order.
        offsets: Of a layer's tensors from its base, in bytes.
        layer_base, layer_stride: Bytes; layer i begins at layer_base + i * layer_stride.
    """

    spec: ModelSpec
    shape: Shape
    geometry: Geometry
    edited: tuple[int, ...] = ()
    regions: list[Region] = field(default_factory=list)
    offsets: dict[str, int] = field(default_factory=dict)
    addresses: dict[str, int] = field(default_factory=dict)
    layer_base: int = 0
    layer_stride: int = 0

    def __post_init__(self) -> None:
        spec, shape, width = self.spec, self.shape, self.geometry.width
        q_columns, kv_columns = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
        tokens = shape.batch * shape.length
        memory = Allocator("HBM", self.geometry.hbm_bytes, _ALIGN, "bytes")
        sizes = {
            "tokens": 4 * tokens,
            "canvas_log": 4 * tokens * shape.calls,
            "transfer_log": 2 * shape.samples * shape.length * shape.calls,
            "call_log": 32 * shape.calls,
            "key_mask": 2 * width * shape.batch * self.key_tiles,
            "vocab_mask": 2 * width * (1 + len(self.edited)),
            "rotation": 2 * width * width,
            "cosine": 2 * width * tokens,
            "sine": 2 * width * tokens,
            "final_norm": 2 * spec.hidden,
            "embedding": 2 * spec.hidden * spec.vocab,
            "head": 2 * spec.hidden * spec.vocab,
            "x": 2 * spec.hidden * tokens,
            "q": 2 * q_columns * tokens,
            "o": 2 * q_columns * tokens,
            "gated": 2 * spec.mlp * tokens,
        }
        if spec.tied_head:
            del sizes["head"]
        for name, size in sizes.items():
            self.addresses[name] = memory.take(name, size)
        self.addresses.setdefault("head", self.addresses["embedding"])
        layer = Allocator("a layer (32-bit offsets)", 1 << 32, _ALIGN, "bytes")
        for name, size in (
            ("attn_norm", 2 * spec.hidden),
            ("mlp_norm", 2 * spec.hidden),
            ("q", 2 * q_columns * spec.hidden),
            ("k", 2 * kv_columns * spec.hidden),
            ("v", 2 * kv_columns * spec.hidden),
            ("o", 2 * q_columns * spec.hidden),
            ("gate", 2 * spec.mlp * spec.hidden),
            ("up", 2 * spec.mlp * spec.hidden),
            ("down", 2 * spec.mlp * spec.hidden),
            ("keys", 2 * kv_columns * tokens),
            ("values", 2 * kv_columns * tokens),
        ):
            self.offsets[name] = layer.take(name, size)
        self.layer_stride = -(-layer.used // _ALIGN) * _ALIGN
        self.layer_base = memory.take("layers", spec.layers * self.layer_stride)
        self.regions = memory.regions

    @property
    def key_tiles(self) -> int:
        """Tiles of Matrix SRAM that the keys of a row of the batch take."""
        return -(-self.shape.length // self.geometry.width)

    # Contents

    def constants(self, padding: NDArray[np.bool_] | None) -> list[DataSegment]:
        """Small tables that go into the firmware.

        Args:
            padding: Which prompt tokens are seen, shape (batch, P); None: all.
        """
        width, shape = self.geometry.width, self.shape
        keys = np.zeros((shape.batch, self.key_tiles * width), np.float32)
        keys[:, : shape.length] = 1
        if padding is not None:
            keys[:, : shape.prompt] = padding
        vocab = np.zeros((1 + len(self.edited), width), np.float32)
        vocab[0, : self.spec.vocab % width or width] = 1
        for row, token in enumerate(self.edited, 1):
            vocab[row] = np.arange(width) != token % width
        return [self._segment("key_mask", keys), self._segment("vocab_mask", vocab)]

    def weights(self, checkpoint: Checkpoint) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Addresses and contents of everything that is large: weights and rotary tables."""
        spec = self.spec
        yield self.addresses["rotation"], _bytes(self._rotation())
        cosine, sine = self._tables()
        yield self.addresses["cosine"], _bytes(cosine)
        yield self.addresses["sine"], _bytes(sine)
        for role in ("final_norm", "embedding", "head"):
            if role in ("head",) and spec.tied_head:
                continue
            yield self.addresses[role], _bytes(checkpoint.tensor(role))
        for layer in range(spec.layers):
            base = self.layer_base + layer * self.layer_stride
            for role in ("attn_norm", "mlp_norm", "q", "k", "v", "o", "gate", "up", "down"):
                yield base + self.offsets[role], _bytes(checkpoint.tensor(role, layer))

    def _segment(self, name: str, values: NDArray[np.float32]) -> DataSegment:
        return DataSegment("hbm", self.addresses[name], "raw8", _bytes(values).tobytes())

    def _rotation(self) -> NDArray[np.float32]:
        """y = x . transpose(R) swaps the halves of every head: y[c] = x[c + h/2]; the sign of the
        lower half is in the table of sines."""
        width, half = self.geometry.width, self.spec.head_dim // 2
        rotation = np.zeros((width, width), np.float32)
        lane = np.arange(width)
        rotation[lane, lane + np.where(lane % (2 * half) < half, half, -half)] = 1
        return rotation

    def _tables(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Cosine and signed sine of every position and lane, rows as the tokens stand."""
        spec, width = self.spec, self.geometry.width
        half = spec.head_dim // 2
        exponent = np.arange(0, 2 * half, 2, dtype=np.float32) / np.float32(2 * half)
        inverse = np.float32(1) / np.power(np.float32(spec.rope_theta), exponent)
        position = np.repeat(np.arange(self.shape.length, dtype=np.float32), self.shape.batch)
        angle = position[:, None] * inverse.astype(np.float32)
        lane = np.arange(width)
        sign = np.where(lane % (2 * half) < half, np.float32(-1), np.float32(1))
        return np.cos(angle)[:, lane % half], np.sin(angle)[:, lane % half] * sign


def _bytes(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """The values in BF16."""
    rounded = np.ascontiguousarray(values).astype(BF16)
    return rounded.view(np.uint8).reshape(-1)
