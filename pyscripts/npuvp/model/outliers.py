"""Key channels made loud without changing what a model computes.

For each KV head some channels of K are multiplied by a power of two and the same channels of every
query head that uses it are divided by it, in the projection weights (and biases), so that Q K^T
stays the same. A rotary position mixes channel c with c + rotary_dim / 2, so both get the same
factor; then scaling commutes with the rotation. Powers of two are exact in BF16 as long as nothing
over- or underflows, so every value but Q and K keeps its bits.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from npuvp.model.checkpoint import Checkpoint, load_model
from npuvp.model.spec import ModelError

__all__ = ["channel_scales", "scaled_tensors", "write_outlier_model"]

_COPIED = ("config.json", "tokenizer.json")


def channel_scales(
    checkpoint: Checkpoint, *, pairs: int, exponent: int, seed: int
) -> NDArray[np.float32]:
    """Factors of K, shape (layers, kv_heads, head_dim): 2^exponent on chosen channels, elsewhere 1.

    Args:
        checkpoint: The model.
        pairs: Rotary pairs of each KV head that become loud.
        exponent: Of the factor.
        seed: Of the choice.

    Raises:
        ValueError: A number that the model's heads do not allow; a model with a norm on Q and K,
            which would undo the scaling.
    """
    spec = checkpoint.spec
    half = spec.rotary_dim // 2
    if spec.qk_norm:
        raise ValueError(f"{checkpoint.name}: its norm on Q and K undoes a scaling of projections")
    if not 0 <= pairs <= half:
        raise ValueError(f"pairs: {pairs}, allowed: 0..{half}, the rotary pairs of a head")
    if not 0 <= exponent <= 20:
        raise ValueError(f"exponent: {exponent}, allowed: 0..20")
    rng = np.random.default_rng(seed)
    scales = np.ones((spec.layers, spec.kv_heads, spec.head_dim), np.float32)
    for layer in range(spec.layers):
        for head in range(spec.kv_heads):
            low = rng.choice(half, pairs, replace=False)
            scales[layer, head, low] = scales[layer, head, low + half] = 2.0**exponent
    return scales


def scaled_tensors(checkpoint: Checkpoint, scales: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """All tensors by published name, with K multiplied and Q divided by the factors.

    Args:
        checkpoint: The model.
        scales: Powers of two, shape (layers, kv_heads, head_dim).

    Raises:
        ModelError: A scaled value is not what the stored type can hold exactly.
    """
    group = checkpoint.spec.group
    result: dict[str, NDArray[Any]] = {}
    faults = []
    for tensor in checkpoint.spec.tensors():
        value = checkpoint.read(tensor)
        if tensor.layer is not None and tensor.role in ("q", "k", "q_bias", "k_bias"):
            factor = scales[tensor.layer]
            if tensor.role.startswith("q"):
                factor = np.repeat(1 / factor, group, axis=0)
            rows = factor.reshape(-1, *[1] * (value.ndim - 1))
            wide = value.astype(np.float32) * rows
            scaled = wide.astype(value.dtype)
            if not np.array_equal(scaled.astype(np.float32) / rows, value.astype(np.float32)):
                faults.append(f"{tensor.name}: a scaled value does not fit {value.dtype}")
            value = scaled
        result[tensor.name] = value
    if faults:
        raise ModelError(checkpoint.name, faults)
    return result


def write_outlier_model(
    source: str | Path, target: str | Path, *, pairs: int = 2, exponent: int = 4, seed: int = 0
) -> NDArray[np.float32]:
    """Writes a copy of a model directory with loud key channels.

    Args:
        source: Model directory.
        target: Directory to write; made if missing.
        pairs, exponent, seed: As in `channel_scales`; kept in ``outliers.json``.

    Returns:
        The factors.

    Raises:
        ModelError, ValueError: The source cannot be read or scaled.
    """
    checkpoint = load_model(source)
    scales = channel_scales(checkpoint, pairs=pairs, exponent=exponent, seed=seed)
    tensors = scaled_tensors(checkpoint, scales)
    directory = Path(target)
    directory.mkdir(parents=True, exist_ok=True)
    save_file(tensors, directory / "model.safetensors")
    for name in _COPIED:
        if (Path(source) / name).exists():
            shutil.copyfile(Path(source) / name, directory / name)
    note = {"source": Path(source).name, "pairs": pairs, "exponent": exponent, "seed": seed}
    text = json.dumps(note, indent=1) + "\n"
    (directory / "outliers.json").write_text(text, encoding="utf-8")
    return scales
