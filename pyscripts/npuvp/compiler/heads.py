"""Heads whose channels do not divide a row of Matrix SRAM: filled up with zeros to a power of two.

Channels of zeros change no number: they add nothing to a score, no output of theirs is used, the
rotation does not reach them. They cost memory, traffic and multiplications.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npuvp.model.checkpoint import Checkpoint
from npuvp.model.spec import ModelSpec, TensorSpec

__all__ = ["filled_heads", "with_filled_heads"]

_ROWS = ("q", "k", "v", "q_bias", "k_bias", "v_bias", "q_norm", "k_norm")


def filled_heads(spec: ModelSpec, mlen: int) -> ModelSpec:
    """The model as a machine with rows of `mlen` elements sees it.

    Args:
        spec: The model.
        mlen: MLEN, a power of two.
    """
    width = 1 << (spec.head_dim - 1).bit_length()
    if mlen % spec.head_dim == 0 or width > mlen:
        return spec
    return replace(spec, head_dim=width, channels=spec.head_dim)


def with_filled_heads(model: Checkpoint, mlen: int) -> Checkpoint:
    """Likewise with its weights."""
    spec = filled_heads(model.spec, mlen)
    return model if spec is model.spec else _FilledHeads(model, spec)


class _FilledHeads(Checkpoint):
    def __init__(self, model: Checkpoint, spec: ModelSpec):
        super().__init__(spec, model.name)
        self._model = model

    def read(self, tensor: TensorSpec, rows: slice | None = None) -> NDArray[Any]:
        """Values of a tensor, or of some of its rows, as stored."""
        own = self._model.find(tensor.role, tensor.layer, tensor.expert)
        if tensor.role not in (*_ROWS, "o"):
            return self._model.read(own, rows)
        values, channels = self._model.read(own), self._model.spec.head_dim
        if tensor.role == "o":
            return self._filled(values.T, channels).T[rows or slice(None)]
        return self._filled(values, channels)[rows or slice(None)]

    def _filled(self, values: NDArray[Any], channels: int) -> NDArray[Any]:
        """Rows of zeros behind the channels of every head."""
        heads = values.reshape(-1, channels, *values.shape[1:])
        found = np.zeros((len(heads), self.spec.head_dim, *values.shape[1:]), values.dtype)
        found[:, :channels] = heads
        return found.reshape(-1, *values.shape[1:])
