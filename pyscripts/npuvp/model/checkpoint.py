"""Weights by role: from sharded safetensors, lazily, or random for timing."""

import hashlib
import json
import re
from abc import ABC, abstractmethod
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from npuvp.model.config import FILE as CONFIG
from npuvp.model.config import read_config
from npuvp.model.spec import ModelError, ModelSpec, Moe, TensorSpec

__all__ = ["NAMES", "Checkpoint", "RandomCheckpoint", "SafetensorsCheckpoint", "load_model"]

BF16 = np.dtype(ml_dtypes.bfloat16)
_TYPES = {"BF16": BF16, "F32": np.dtype(np.float32), "F16": np.dtype(np.float16)}
_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"


class Checkpoint(ABC):
    """A model's specification and weights.

    Attributes:
        spec: The model.
        name: Directory or name, for messages.
    """

    def __init__(self, spec: ModelSpec, name: str):
        self.spec = spec
        self.name = name
        self._tensors = {tensor.key: tensor for tensor in spec.tensors()}

    def find(self, role: str, layer: int | None = None, expert: int | None = None) -> TensorSpec:
        """The tensor of a role; with a tied head, the embedding for ``head``.

        Raises:
            KeyError: This model has no such tensor.
        """
        if role == "head" and self.spec.tied_head:
            role = "embedding"
        return self._tensors[role, layer, expert]

    def tensor(
        self,
        role: str,
        layer: int | None = None,
        expert: int | None = None,
        rows: slice | None = None,
    ) -> NDArray[Any]:
        """Values of a tensor, as stored: bfloat16 (ml_dtypes), float32 or float16.

        Args:
            role, layer, expert: As in `TensorSpec`.
            rows: Part of the first axis, step 1; only that part is read.

        Raises:
            KeyError: This model has no such tensor.
        """
        return self.read(self.find(role, layer, expert), rows)

    @abstractmethod
    def read(self, tensor: TensorSpec, rows: slice | None = None) -> NDArray[Any]:
        """Values of a tensor, or of some of its rows, as stored."""


class SafetensorsCheckpoint(Checkpoint):
    """A checkpoint directory: config.json and one or more safetensors files.

    Opening it checks the names, shapes and types of all tensors and reads no weight.

    Raises:
        ModelError: Faults of config.json; or missing, unknown, misplaced or misshapen tensors,
            all of them.
    """

    def __init__(self, directory: str | Path):
        self.directory = Path(directory)
        spec = read_config(self.directory)
        super().__init__(spec, str(directory))
        faults: list[str] = []
        self._files: dict[str, Any] = {}
        self._where = self._index(faults)
        if faults:
            raise ModelError(self.name, faults)
        found: dict[str, tuple[tuple[int, ...], str]] = {}
        for file in sorted(set(self._where.values())):
            try:
                handle = safe_open(self.directory / file, "numpy")
            except (OSError, SafetensorError) as error:
                faults.append(f"{file}: not readable as safetensors: {error}")
                continue
            self._files[file] = handle
            names: list[str] = handle.keys()  # type: ignore[no-untyped-call]
            for name in names:
                part = handle.get_slice(name)  # type: ignore[no-untyped-call]
                found[name] = (tuple(part.get_shape()), part.get_dtype())
        self._check(found, faults)
        if faults:
            raise ModelError(self.name, faults)

    def _index(self, faults: list[str]) -> dict[str, str]:
        """File of every tensor that the directory declares."""
        wanted = [tensor.name for tensor in self.spec.tensors()]
        path = self.directory / _INDEX
        if not path.exists():
            if not (self.directory / _SINGLE).exists():
                faults.append(f"neither {_SINGLE} nor {_INDEX} is there")
            return dict.fromkeys(wanted, _SINGLE)
        try:
            index = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
            where = {str(name): str(file) for name, file in index.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            faults.append(f"{_INDEX}: no weight_map in it ({error!r})")
            return {}
        for file in sorted(set(where.values())):
            if Path(file).name != file:
                faults.append(f"{_INDEX}: {file!r} is no file name")
        return where

    def _check(self, found: dict[str, tuple[tuple[int, ...], str]], faults: list[str]) -> None:
        wanted = {tensor.name: tensor for tensor in self.spec.tensors()}
        for name, tensor in wanted.items():
            if name not in found:
                faults.append(f"{name}: missing, {list(tensor.shape)}")
                continue
            shape, kind = found[name]
            if shape != tensor.shape:
                faults.append(f"{name}: shape {list(shape)}, allowed: {list(tensor.shape)}")
            if kind not in _TYPES:
                faults.append(f"{name}: type {kind}, allowed: {', '.join(_TYPES)}")
            file = self._where.get(name)
            if file is None or (file in self._files and name not in set(self._files[file].keys())):
                faults.append(f"{name}: {_INDEX} says {file}, and it is not there")
        allowed = set(wanted)
        if self.spec.tied_head:
            # Some writers store the tied head as well; it is the embedding.
            allowed |= {"lm_head.weight", "model.transformer.ff_out.weight"}
        faults += [
            f"{name}: unknown tensor of {self.spec.architecture}"
            for name in found
            if name not in allowed and not name.endswith("rotary_emb.inv_freq")
        ]

    def read(self, tensor: TensorSpec, rows: slice | None = None) -> NDArray[Any]:
        """Values of a tensor, or of some of its rows, as stored."""
        handle = self._files[self._where[tensor.name]]
        part = handle.get_slice(tensor.name)
        result: NDArray[Any] = part[rows if rows is not None else slice(None)]
        return result


class RandomCheckpoint(Checkpoint):
    """Random BF16 weights, made when they are read.

    Matrices and biases are uniform with a standard deviation of 0.02, norms are 1. Element e of a
    tensor is word e of a Philox stream whose key is a hash of seed and name, so any part can be
    made alone.

    Args:
        spec: The model.
        name: For messages.
        seed: 0 or more.
    """

    def __init__(self, spec: ModelSpec, name: str, seed: int = 0):
        super().__init__(spec, name)
        self.seed = seed

    def read(self, tensor: TensorSpec, rows: slice | None = None) -> NDArray[Any]:
        """Values of a tensor, or of some of its rows, as bfloat16."""
        first, last, step = (rows or slice(None)).indices(tensor.shape[0])
        if step != 1:
            raise ValueError(f"{tensor.name}: rows in steps of {step}, allowed: 1")
        shape = (max(0, last - first), *tensor.shape[1:])
        if tensor.role.endswith("norm"):
            return np.ones(shape, BF16)
        row = tensor.size // tensor.shape[0]
        begin, count = first * row, shape[0] * row
        digest = hashlib.sha256(f"{self.seed}/{tensor.name}".encode()).digest()
        stream = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
        # One counter step yields four 64-bit words, sixteen elements of 16 bits.
        stream.advance(begin // 16)
        skip = begin % 16
        words = stream.random_raw(-(-(skip + count) // 4)).astype("<u8", copy=False)
        bits = words.view(np.uint16)[skip : skip + count]
        scale = np.float32(0.02 * 12**0.5 / 65536)
        values = (bits.astype(np.float32) - np.float32(32767.5)) * scale
        return values.astype(BF16).reshape(shape)


def _llada_shape(**changes: Any) -> ModelSpec:
    # GSAI-ML/LLaDA-8B-Instruct, config.json.
    spec = ModelSpec(
        architecture="llada",
        layers=32,
        hidden=4096,
        heads=32,
        kv_heads=32,
        head_dim=128,
        mlp=12288,
        vocab=126464,
        max_length=4096,
        norm_eps=1e-5,
        rope_theta=500000.0,
        rotary_dim=128,
        rope_full_precision=True,
        qkv_bias=False,
        qk_norm=False,
        tied_head=False,
        moe=None,
        block=None,
        logit_shift=False,
        mask_id=126336,
        eos_id=126081,
        pad_id=126081,
    )
    return replace(spec, **changes)


def _qwen_shape(**changes: Any) -> ModelSpec:
    # Qwen2.5-7B with the special tokens of Dream-7B.
    return _llada_shape(
        architecture="dream",
        layers=28,
        hidden=3584,
        heads=28,
        kv_heads=4,
        mlp=18944,
        vocab=152064,
        max_length=131072,
        norm_eps=1e-6,
        rope_theta=1e6,
        rope_full_precision=False,
        qkv_bias=True,
        logit_shift=True,
        mask_id=151666,
        eos_id=151643,
        pad_id=151643,
        **changes,
    )


_TINY: dict[str, Any] = {
    "layers": 2,
    "hidden": 128,
    "heads": 4,
    "head_dim": 32,
    "rotary_dim": 32,
    "mlp": 256,
    "vocab": 512,
    "max_length": 512,
    "mask_id": 510,
    "eos_id": 509,
    "pad_id": 509,
}
_V2: dict[str, Any] = {
    "architecture": "fast-dllm-v2",
    "block": 32,
    "max_length": 32768,
    "mask_id": 151665,
    "eos_id": 151645,
}
# Arithmetic of the facts: the shapes reproduce 7.357 G parameters.
_MOE: dict[str, Any] = {
    "architecture": "llada-moe",
    "layers": 16,
    "hidden": 2048,
    "heads": 16,
    "kv_heads": 16,
    "mlp": 0,
    "vocab": 157184,
    "max_length": 8192,
    "rope_theta": 50000.0,
    "rope_full_precision": False,
    "qk_norm": True,
    "moe": Moe(64, 8, 1024),
    "mask_id": 156895,
    "eos_id": 156892,
    "pad_id": 156892,
}

NAMES: dict[str, ModelSpec] = {
    "llada-8b": _llada_shape(),
    "llada-tiny": _llada_shape(**_TINY, kv_heads=4),
    "llada-moe-7b": _llada_shape(**_MOE),
    "llada-moe-tiny": _llada_shape(**{**_MOE, **_TINY, "kv_heads": 4, "moe": Moe(8, 2, 64)}),
    "dream-7b": _qwen_shape(),
    "dream-tiny": replace(_qwen_shape(), **_TINY, kv_heads=2),
    "fast-dllm-v2-7b": replace(_qwen_shape(), **_V2),
    "fast-dllm-v2-1.5b": replace(
        _qwen_shape(),
        **{**_V2, "hidden": 1536, "heads": 12, "kv_heads": 2, "mlp": 8960, "vocab": 151936},
        tied_head=True,
    ),
    "fast-dllm-v2-tiny": replace(_qwen_shape(), **{**_V2, **_TINY}, kv_heads=2),
}
"""Published shapes, and small ones for tests."""

_SETTABLE = {
    field.name: field.type
    for field in fields(ModelSpec)
    if field.name not in ("architecture", "moe", "block", "channels")
}
_NAME = re.compile(r"([a-z0-9.-]+)(?::(.*))?")


def _named(text: str) -> ModelSpec | None:
    """The shape of ``name`` or ``name:field=value,...``; None if there is no such name."""
    match = _NAME.fullmatch(text)
    if match is None or match[1] not in NAMES:
        return None
    spec = NAMES[match[1]]
    changes: dict[str, Any] = {}
    faults = []
    for part in match[2].split(",") if match[2] else []:
        key, _, value = part.partition("=")
        kind = _SETTABLE.get(key)
        try:
            if kind is int:
                changes[key] = int(value)
            elif kind is float:
                changes[key] = float(value)
            elif kind is bool and value in ("true", "false"):
                changes[key] = value == "true"
            elif kind is None:
                faults.append(f"{key!r}: no such field, allowed: {', '.join(_SETTABLE)}")
            else:
                faults.append(f"{key}: {value!r}, allowed: true or false")
        except ValueError:
            faults.append(f"{key}: {value!r}, allowed: a number")
    if changes.keys() & {"hidden", "heads", "head_dim"}:
        heads = changes.get("heads", spec.heads)
        hidden = changes.get("hidden", spec.hidden)
        changes.setdefault("head_dim", max(1, hidden // max(1, heads)))
        changes.setdefault("rotary_dim", changes["head_dim"])
        if spec.kv_heads == spec.heads:
            changes.setdefault("kv_heads", heads)
        if spec.architecture in ("llada", "llada-moe") and heads * changes["head_dim"] != hidden:
            faults.append(f"hidden: {hidden}, allowed: a multiple of heads = {heads}")
    if "vocab" in changes:
        for offset, key in enumerate(("mask_id", "eos_id", "pad_id"), 1):
            changes.setdefault(key, changes["vocab"] - min(offset, 2))
    result = replace(spec, **changes)
    faults += result.faults()
    if faults:
        raise ModelError(f"model {text!r}", faults)
    return result


def load_model(model: str | Path, seed: int = 0) -> Checkpoint:
    """Opens a checkpoint directory, or makes a model of random weights.

    Args:
        model: A directory with config.json and safetensors, or a name of `NAMES`, which fields of
            `ModelSpec` may follow: ``llada-8b``, ``llada-tiny:layers=4,hidden=256``. A directory
            is preferred where both exist.
        seed: Of random weights.

    Raises:
        ModelError: Neither a directory nor a name; or the faults of the checkpoint.
    """
    path = Path(model)
    if path.is_dir():
        return SafetensorsCheckpoint(path)
    spec = _named(str(model))
    if spec is None:
        raise ModelError(
            f"model {str(model)!r}",
            [f"neither a directory with {CONFIG} nor one of {', '.join(NAMES)}"],
        )
    return RandomCheckpoint(spec, str(model), seed)
