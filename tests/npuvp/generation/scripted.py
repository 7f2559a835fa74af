"""A model whose predictions are written down."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from npuvp.generation import ForwardCall
from npuvp.model.checkpoint import NAMES
from npuvp.model.spec import ModelSpec

MASK, EOS = 15, 14
SPEC = replace(NAMES["llada-tiny"], vocab=16, mask_id=MASK, eos_id=EOS, pad_id=EOS, max_length=256)

Peaks = Callable[[ForwardCall, int, int], tuple[int, float]]
"""Token and height of its logit, of (call, row, canvas index of the output row)."""


class Scripted:
    """Logits that are 0 but for one peak at every output row; remembers its calls."""

    def __init__(self, peaks: Peaks, spec: ModelSpec = SPEC):
        self.peaks = peaks
        self.spec = spec
        self.calls: list[ForwardCall] = []

    def __call__(self, call: ForwardCall) -> np.ndarray:
        self.calls.append(call)
        low, high = call.logits
        assert call.start <= low < high <= call.start + call.length
        logits = np.zeros((len(call.tokens), high - low, self.spec.vocab), np.float32)
        for row in range(len(call.tokens)):
            for index in range(low, high):
                token, height = self.peaks(call, row, index)
                logits[row, index - low, token] = height
        return logits


def steady(call: ForwardCall, row: int, index: int) -> tuple[int, float]:
    """Token (index + row) mod 13, more certain the further left."""
    return (index + row) % 13, 12.0 - 0.125 * index
