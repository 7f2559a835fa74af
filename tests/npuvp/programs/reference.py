"""The programs of this folder: inputs, what they compute in float64, and how far off they may be.

Inputs are rounded to the format in which they stand in memory before the reference sees them, so a
bound is about the machine's arithmetic alone. Results and intermediate rows are BF16; u = 2^-8 is
half a unit in the last place of it, its relative rounding error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npuvp import Firmware, assemble
from npuvp.golden.codec import GoldenCodec

Array = NDArray[Any]
Arrays = dict[str, Array]
FOLDER = Path(__file__).parent
U = 2.0**-8
WEIGHTS = {0: "mxfp8_e4m3", 5: "mxint8", 6: "mxint4", 7: "plena_e4m3", 8: "bf16"}


@dataclass(frozen=True)
class Machine:
    """What programs are made for; MLEN is VLEN."""

    vlen: int
    blen: int
    matrix_rows: int = 1
    weights: int = 8
    block: int = 32
    narrow_registers: bool = False
    """FP registers in BF16: a sum or maximum loses up to u per addition."""

    @property
    def group(self) -> int:
        return self.blen * self.matrix_rows

    @property
    def defines(self) -> dict[str, int]:
        return {
            "VLEN": self.vlen,
            "BLEN": self.blen,
            "GROUP": self.group,
            "WEIGHTS": self.weights,
            "WEIGHT_BLOCK": self.block,
        }

    def stored(self, values: Array, format: str | None = None) -> NDArray[np.float32]:
        """What memory keeps of values; default: the format of the weights."""
        name = WEIGHTS[self.weights] if format is None else format
        codec = GoldenCodec()
        rows, length = values.shape
        packed = codec.encode_rows(values.astype(np.float32), name, self.block)
        return codec.decode_rows(*packed, name, self.block, rows, length)

    def bf16(self, values: Array) -> NDArray[np.float32]:
        return self.stored(values, "bf16")


@dataclass
class Case:
    """A program with its inputs, its results in float64 and the largest errors allowed."""

    program: str
    inputs: Arrays
    expected: Arrays
    bounds: Arrays
    defines: dict[str, int] = field(default_factory=dict)

    def firmware(self, machine: Machine) -> Firmware:
        return assemble(FOLDER / f"{self.program}.s", defines={**machine.defines, **self.defines})


def _summed(machine: Machine, n: int) -> float:
    """Relative error of a sum of n non-negative rows' sums in an FP register."""
    return (n * U if machine.narrow_registers else 0.0) + 2.0**-18


def linear(machine: Machine, rng: np.random.Generator) -> Case:
    """Rounding of the result, and 2K roundings of float32 in the sum."""
    rows, k, n = 2 * machine.group, 2 * machine.vlen, 2 * machine.vlen
    x = machine.bf16(rng.normal(size=(rows, k)))
    w = machine.stored(rng.normal(size=(n, k)) / np.sqrt(k))
    y = x.astype(float) @ w.astype(float).T
    sums = np.abs(x).astype(float) @ np.abs(w).astype(float).T
    bound = U * np.abs(y) + 2 * k * 2.0**-24 * sums
    return Case("linear", {"x": x, "w": w}, {"y": y}, {"y": bound}, {"ROWS": rows, "K": k, "N": n})


def rmsnorm(machine: Machine, rng: np.random.Generator) -> Case:
    """Squares and two products rounded, 1 / sqrt of half a sum's relative error."""
    rows, hidden = 5, 2 * machine.vlen
    x = machine.bf16(rng.normal(size=(rows, hidden)) * rng.uniform(0.1, 30, (rows, 1)))
    g = machine.bf16(rng.uniform(0.5, 2, (1, hidden)))
    wide = x.astype(float)
    y = wide / np.sqrt((wide**2).mean(axis=1, keepdims=True) + 1e-5) * g
    registers = 5 * U if machine.narrow_registers else 0.0  # mean, epsilon, root, reciprocal
    relative = 2 * U + (U + _summed(machine, 2)) / 2 + registers + 0.05 * U
    bound = relative * np.abs(y)
    defines = {"ROWS": rows, "HIDDEN": hidden}
    return Case("rmsnorm", {"x": x, "g": g}, {"y": y}, {"y": bound}, defines)


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _softmax_error(machine: Machine, x: Array, blocks: int) -> Array:
    """Relative error of softmax of rows x.

    The difference to the maximum is rounded (u of it, which the exponential turns into a relative
    error), the exponential and the product are, and the sum adds its own.
    """
    shift = U * np.abs(x - x.max(axis=-1, keepdims=True))
    worst = (_softmax(x) * shift).sum(axis=-1, keepdims=True)  # in the sum
    registers = U if machine.narrow_registers else 0.0
    return 1.1 * (shift + worst + 3 * U + _summed(machine, blocks) + registers)


def softmax(machine: Machine, rng: np.random.Generator) -> Case:
    rows, columns = 5, 3 * machine.vlen
    x = machine.bf16(rng.normal(size=(rows, columns)) * 3)
    y = _softmax(x.astype(float))
    bound = _softmax_error(machine, x.astype(float), 3) * y
    defines = {"ROWS": rows, "COLUMNS": columns}
    return Case("softmax", {"x": x}, {"y": y}, {"y": bound}, defines)


def silu_ffn(machine: Machine, rng: np.random.Generator) -> Case:
    """Each of the two inner products, the sigmoid (four roundings) and two products round."""
    rows, hidden, inner = machine.group, machine.vlen, 2 * machine.vlen
    x = machine.bf16(rng.normal(size=(rows, hidden)))
    gate = machine.stored(rng.normal(size=(inner, hidden)) / np.sqrt(hidden))
    up = machine.stored(rng.normal(size=(inner, hidden)) / np.sqrt(hidden))
    down = machine.stored(rng.normal(size=(hidden, inner)) / np.sqrt(inner))
    a = x.astype(float) @ gate.astype(float).T
    b = x.astype(float) @ up.astype(float).T
    h = a / (1 + np.exp(-a)) * b
    y = h @ down.astype(float).T
    # a's own rounding moves the sigmoid by at most u |a|.
    relative = (9 + np.abs(a)) * U
    hidden_error = np.abs(h) * relative
    bound = 1.05 * (hidden_error @ np.abs(down.astype(float)).T) + U * np.abs(y) + 1e-5
    inputs = {"x": x, "gate": gate, "up": up, "down": down}
    defines = {"ROWS": rows, "HIDDEN": hidden, "INNER": inner}
    return Case("silu_ffn", inputs, {"y": y}, {"y": bound}, defines)


def rope(machine: Machine, rng: np.random.Generator) -> Case:
    """Two products and their sum round; turning by the matrix is exact."""
    rows, width = 2 * machine.group, machine.vlen
    half = width // 2
    x = machine.bf16(rng.normal(size=(rows, width)))
    angle = np.arange(rows)[:, None] * 10000.0 ** (-np.arange(half) / half)
    cosine = machine.bf16(np.cos(np.tile(angle, 2)))
    sine = machine.bf16(np.sin(np.tile(angle, 2)))
    rotation = np.zeros((width, width), np.float32)
    rotation[np.arange(half), np.arange(half) + half] = -1
    rotation[np.arange(half) + half, np.arange(half)] = 1
    wide = x.astype(float)
    turned = np.concatenate([-wide[:, half:], wide[:, :half]], axis=1)
    parts = np.abs(wide * cosine) + np.abs(turned * sine)
    y = wide * cosine + turned * sine
    inputs = {"x": x, "cosine": cosine, "sine": sine, "rotation": rotation}
    return Case("rope", inputs, {"y": y}, {"y": 1.01 * U * (parts + np.abs(y))}, {"ROWS": rows})


def _attention(
    machine: Machine, q: Array, k: Array, v: Array, scale: float, blocks: int, scaled_query: bool
) -> tuple[Array, Array]:
    """Attention and its bound: errors of the scores, softmax, rounding of the result.

    Scores are rounded once; where the query is scaled and rounded beforehand, every term of their
    sum has that error too.
    """
    scores = q @ k.T * scale
    weights = _softmax(scores)
    y = weights @ v
    terms = np.abs(q) @ np.abs(k).T * scale
    spread = U * np.abs(scores) + (U if scaled_query else 2 * k.shape[1] * 2.0**-24) * terms
    relative = _softmax_error(machine, scores, blocks)
    relative = relative + spread + (weights * spread).sum(axis=-1, keepdims=True)
    return y, 1.05 * ((relative * weights) @ np.abs(v)) + U * np.abs(y)


def attention_prefill(machine: Machine, rng: np.random.Generator) -> Case:
    rows, keys, width = 2 * machine.group, 2 * machine.vlen, machine.vlen
    q = machine.bf16(rng.normal(size=(rows, width)))
    k = machine.bf16(rng.normal(size=(keys, width)))
    v = machine.bf16(rng.normal(size=(keys, width)))
    q64, k64, v64 = (a.astype(float) for a in (q, k, v))
    y, bound = _attention(machine, q64, k64, v64, width**-0.5, 2, True)
    inputs = {"q": q, "k": k, "v": v}
    defines = {"ROWS": rows, "KEYS": keys}
    return Case("attention_prefill", inputs, {"y": y}, {"y": bound}, defines)


def attention_heads(machine: Machine, rng: np.random.Generator) -> Case:
    width = machine.vlen
    head = max(width // 4, machine.blen)
    q = machine.bf16(rng.normal(size=(width, width)))
    k = machine.bf16(rng.normal(size=(width, head)))
    v = machine.bf16(rng.normal(size=(width, head)))
    parts = [
        _attention(machine, part, k.astype(float), v.astype(float), head**-0.5, 1, False)
        for part in np.split(q.astype(float), width // head, axis=1)
    ]
    y, bound = (np.concatenate(found, axis=1) for found in zip(*parts, strict=True))
    inputs = {"q": q, "k": k, "v": v}
    return Case("attention_heads", inputs, {"y": y}, {"y": bound}, {"HEAD": head})


def attention_decode(machine: Machine, rng: np.random.Generator) -> Case:
    width, keys = machine.vlen, 2 * machine.vlen
    head = max(width // 4, machine.blen)
    q = machine.bf16(rng.normal(size=(1, width)))
    k = machine.bf16(rng.normal(size=(keys, head)))
    v = machine.bf16(rng.normal(size=(keys, head)))
    heads = q.astype(float).reshape(-1, head)
    y, bound = _attention(machine, heads, k.astype(float), v.astype(float), head**-0.5, 2, False)
    inputs = {"q": q, "k": k, "v": v}
    defines = {"HEAD": head, "KEYS": keys}
    return Case("attention_decode", inputs, {"y": y}, {"y": bound}, defines)


def embedding(machine: Machine, rng: np.random.Generator) -> Case:
    """Exact where BF16 holds the table's numbers, which every MX format here is narrower than."""
    vocabulary, hidden = 50, 2 * machine.vlen
    table = machine.stored(rng.normal(size=(vocabulary, hidden)))
    tokens = rng.integers(0, vocabulary, (1, 7)).astype(np.int32)
    tokens[0, :3] = (0, vocabulary - 1, 0)
    y = table[tokens[0]].astype(float)
    defines = {"COUNT": 7, "VOCABULARY": vocabulary, "HIDDEN": hidden}
    return Case(
        "embedding", {"tokens": tokens, "table": table}, {"y": y}, {"y": np.zeros_like(y)}, defines
    )


def topk_routing(machine: Machine, rng: np.random.Generator, mode: int = 1) -> Case:
    rows, experts, k = 5, 64, 8
    logits = machine.bf16(rng.normal(size=(rows, experts)) * 2)
    chosen = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    values = np.take_along_axis(logits.astype(float), chosen, axis=1)
    weights = _softmax(values)
    if mode:
        weights = np.take_along_axis(_softmax(logits.astype(float)), chosen, axis=1)
    error = ((experts if mode else k) + 16) * 2.0**-24 + (U if machine.narrow_registers else 0.0)
    return Case(
        "topk_routing",
        {"logits": logits},
        {"experts": chosen, "weights": weights},
        {"experts": np.zeros_like(chosen), "weights": error * weights},
        {"ROWS": rows, "EXPERTS": experts, "K": k, "MODE": mode},
    )


PROGRAMS: dict[str, Callable[[Machine, np.random.Generator], Case]] = {
    f.__name__: f
    for f in (
        linear,
        rmsnorm,
        softmax,
        silu_ffn,
        rope,
        attention_prefill,
        attention_heads,
        attention_decode,
        embedding,
        topk_routing,
    )
}
