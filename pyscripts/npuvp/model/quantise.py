"""Weights to microscaling formats, with a clipping search per block.

A block of 32 weights along the contraction shares the scale 2^(floor(log2 of the largest) - emax). A
lone large weight makes the step coarse for the other 31; and just below a power of two the largest
itself saturates (7.9 becomes 6 in MXFP4). So every block tries several limits: its weights are clipped
to a ratio of the largest, or the largest is stretched to the next power of two; the block is converted
as the machine converts, and the limit with the smallest sum of squared errors to the given weights is
kept (ratio 1 is among them). What comes out converts to itself: a clipped block's largest weight
saturates and a stretched one's is exact, which gives the same scale again.

Formats are those of `npuvp.compiler.formats`, from the file that ``npuvp compile --formats`` reads::

    weights: mxint4            # matrices of the layers
    head: mxfp8_e4m3           # matrix of the head; as weights if left out
    embedding: bf16            # rows of the embedding; bf16 if left out
    activations: mxint8        # what enters products with weights; bf16 if left out
    block: 32                  # values that share a scale: 8, 16 or 32 (32)

Its other classes (keys, values, logits) concern a run, not the weights; they are written into
config.json as they are.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from npuvp.compiler.formats import ELEMENTS, Formats
from npuvp.golden.mx import mx_decode_row, mx_element_bytes, mx_encode_row, mx_scale_bytes
from npuvp.model.checkpoint import Checkpoint, RandomCheckpoint, load_model
from npuvp.model.quantised import KEY, METHOD, read_quantisation
from npuvp.model.spec import ModelError, ModelSpec

__all__ = [
    "RATIOS",
    "Quantised",
    "clipped",
    "element_of",
    "entry_of",
    "faults_of",
    "quantise",
]

RATIOS = tuple(1 - i / 20 for i in range(11))
"""Clipping ratios that are tried, 1 down to 0.5; after them the stretched block."""

_LAYERS = ("q", "k", "v", "o", "gate", "up", "down", "expert_gate", "expert_up", "expert_down")
_COPIED = ("tokenizer.json",)


def element_of(formats: Formats, spec: ModelSpec, role: str) -> str:
    """Element format that a tensor's role gets, such as "mxfp4_e2m1"."""
    name = "bf16"
    head = formats.head
    if role in _LAYERS:
        name = formats.weights
    elif role == "head":
        name = formats.weights if head is None else head
    elif role == "embedding":
        name = formats.embedding if head is None or not spec.tied_head else head
    return ELEMENTS[name]


def faults_of(formats: Formats, spec: ModelSpec) -> list[str]:
    """Why a model cannot take formats, one line each."""
    faults = []
    seen = set()
    for tensor in spec.tensors():
        if tensor.role in seen:
            continue
        seen.add(tensor.role)
        entered = formats.activations != "bf16" and tensor.role in (*_LAYERS, "head")
        quantised = element_of(formats, spec, tensor.role) != "bf16"
        if (entered or quantised) and tensor.shape[-1] % formats.block:
            faults.append(
                f"block: {formats.block}, allowed: a divisor of the {tensor.shape[-1]} inputs of "
                f"{tensor.name}"
            )
    two = formats.head not in (None, formats.embedding) and formats.embedding != "bf16"
    if spec.tied_head and two:
        faults.append("head and embedding: one tensor in this model, two formats")
    changed = any(element_of(formats, spec, role) != "bf16" for role in seen)
    if not changed and formats.activations == "bf16":
        faults.append("weights, head, embedding and activations: all bf16, nothing to do")
    return faults


def entry_of(formats: Formats) -> dict[str, Any]:
    """What config.json says of formats."""
    given = {field.name: getattr(formats, field.name) for field in fields(Formats)}
    return {"quant_method": METHOD, **{k: v for k, v in given.items() if v is not None}}


def _converted(x: NDArray[np.float32], element: str, block: int) -> NDArray[np.float32]:
    encoded = mx_encode_row(element, block, x)
    return mx_decode_row(element, block, *encoded, x.shape[-1], "fp32")


def clipped(
    x: NDArray[np.float32], element: str, block: int, search: bool = True
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Converts weights, every block with the limit that suits it best.

    Args:
        x: Shape (outputs, inputs).
        element: MX format.
        block: Divides the inputs.
        search: Whether other limits than the largest weight are tried; of equal errors that wins.

    Returns:
        Converted weights, and per block the limit over the largest weight (below 1: clipped, above:
        stretched), shape (outputs, inputs / block).
    """
    blocks = x.reshape(x.shape[0], -1, block)
    magnitude = np.abs(blocks)
    largest = magnitude.max(axis=-1, keepdims=True)
    best = np.zeros_like(blocks)
    error = np.full(blocks.shape[:2], np.inf)
    chosen = np.ones(blocks.shape[:2])

    def consider(trial: NDArray[np.float32], ratio: NDArray[np.float64]) -> None:
        found = _converted(trial.reshape(x.shape), element, block).reshape(blocks.shape)
        squares = np.square(found.astype(np.float64) - blocks).sum(axis=-1)
        better = squares < error
        best[better], error[better], chosen[better] = found[better], squares[better], ratio[better]

    for ratio in RATIOS if search else (1.0,):
        limit = (largest * np.float32(ratio)).astype(np.float32)
        consider(np.clip(blocks, -limit, limit), np.full(error.shape, ratio))
    if search:
        mantissa, exponent = np.frexp(largest)
        power = np.ldexp(np.float32(1), exponent - (mantissa == 0.5)).astype(np.float32)
        stretched = np.where(magnitude == largest, np.copysign(power, blocks), blocks)
        above = np.where(largest == 0, 1, power.astype(np.float64) / np.where(largest, largest, 1))
        consider(np.where(largest == 0, blocks, stretched), above[..., 0])
    return best.reshape(x.shape), chosen


@dataclass
class Quantised:
    """What happened to the weights of a role.

    Attributes:
        role, format: Which, and to what.
        signal, plain, error: Sums of squares: of the weights, of the errors without clipping, of
            those that are left.
        blocks, clipped, stretched: How many blocks there are, are clipped and are stretched.
        bytes, bytes_bf16: In the format with its scales, and in BF16.
        tensors: How many tensors.
    """

    role: str
    format: str
    signal: float = 0.0
    plain: float = 0.0
    error: float = 0.0
    blocks: int = 0
    clipped: int = 0
    stretched: int = 0
    bytes: int = 0
    bytes_bf16: int = 0
    tensors: int = 0

    def data(self) -> dict[str, Any]:
        """As plain data; errors are root mean squares relative to the weights."""
        signal = self.signal or 1.0
        return {
            "role": self.role,
            "format": self.format,
            "tensors": self.tensors,
            "relative_error": float(np.sqrt(self.error / signal)),
            "relative_error_unclipped": float(np.sqrt(self.plain / signal)),
            "clipped_blocks": self.clipped / max(1, self.blocks),
            "stretched_blocks": self.stretched / max(1, self.blocks),
            "bytes": self.bytes,
            "bytes_bf16": self.bytes_bf16,
        }


def quantise(
    source: str | Path,
    formats: Formats,
    target: str | Path,
    *,
    search: bool = True,
    progress: Callable[[], object] | None = None,
) -> list[Quantised]:
    """Writes a quantised copy of a checkpoint directory.

    The weights are BF16 numbers that the formats hold, so whatever reads the source reads the copy;
    config.json names the formats (`npuvp.model.quantised`).

    Args:
        source: Checkpoint directory.
        formats: What becomes what.
        target: Directory to write; must not exist or be empty.
        search: Whether every block's limit is searched, or is its largest weight.
        progress: Called after every tensor.

    Raises:
        ModelError: What does not fit; nothing is written.
    """
    checkpoint = load_model(source)
    if isinstance(checkpoint, RandomCheckpoint):
        raise ModelError(str(source), ["random weights need no quantising, allowed: a directory"])
    if read_quantisation(source) is not None:
        raise ModelError(str(source), [f"it is quantised already ({KEY} in config.json)"])
    faults = faults_of(formats, checkpoint.spec)
    if faults:
        raise ModelError(str(source), faults)
    directory = Path(target)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ModelError(str(target), ["it exists, allowed: a new or an empty directory"])
    tensors, reports = _tensors(checkpoint, formats, search, progress)
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Written beside the target and moved there whole.
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        made = Path(scratch) / "model"
        made.mkdir()
        save_file(tensors, made / "model.safetensors")
        (made / "model.safetensors").chmod(0o644)
        config = json.loads((Path(source) / "config.json").read_text(encoding="utf-8"))
        config[KEY] = entry_of(formats)
        text = json.dumps(config, indent=1) + "\n"
        (made / "config.json").write_text(text, encoding="utf-8")
        for name in _COPIED:
            if (Path(source) / name).exists():
                shutil.copyfile(Path(source) / name, made / name)
        if directory.exists():
            directory.rmdir()
        shutil.move(made, directory)
    return reports


def _tensors(
    checkpoint: Checkpoint,
    formats: Formats,
    search: bool,
    progress: Callable[[], object] | None,
) -> tuple[dict[str, NDArray[Any]], list[Quantised]]:
    tensors: dict[str, NDArray[Any]] = {}
    reports: dict[str, Quantised] = {}
    for tensor in checkpoint.spec.tensors():
        value = checkpoint.read(tensor)
        element = element_of(formats, checkpoint.spec, tensor.role)
        if element != "bf16":
            x = value.astype(np.float32)
            found, chosen = clipped(x, element, formats.block, search)
            value = found.astype(ml_dtypes.bfloat16)
            if not np.array_equal(value.astype(np.float32), found):
                raise ModelError(checkpoint.name, [f"{tensor.name}: weights too small for BF16"])
            report = reports.setdefault(tensor.role, Quantised(tensor.role, element))
            plain = _converted(x, element, formats.block)
            report.signal += float(np.square(x, dtype=np.float64).sum())
            report.plain += float(np.square(plain - x, dtype=np.float64).sum())
            report.error += float(np.square(found - x, dtype=np.float64).sum())
            report.blocks += chosen.size
            report.clipped += int((chosen < 1).sum())
            report.stretched += int((chosen > 1).sum())
            rows, inputs = x.shape
            scales = mx_scale_bytes(element, formats.block, inputs)
            report.bytes += rows * (mx_element_bytes(element, inputs) + scales)
            report.bytes_bf16 += 2 * x.size
            report.tensors += 1
        tensors[tensor.name] = value
        if progress is not None:
            progress()
    return tensors, list(reports.values())
