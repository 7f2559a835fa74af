"""The sampling step of `programs/sampling_*.s`, in NumPy and bit for bit."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from npuvp.golden import elementary, rows
from npuvp.golden.formats import bf16_to_float, from_float, round_to
from npuvp.golden.mx import mx_decode_row
from npuvp.golden.topk import topk_mask

__all__ = ["SamplingStep", "sampling_step"]


@dataclass(frozen=True)
class SamplingStep:
    """Results of one step; all of shape (B, L).

    Attributes:
        tokens: int32, with what was committed.
        argmax: int32, the candidate of every position.
        confidence: float32, 1 / sum exp(logit - max).
        transfer: float32, 1 where a token was committed.
    """

    tokens: npt.NDArray[np.int32]
    argmax: npt.NDArray[np.int32]
    confidence: npt.NDArray[np.float32]
    transfer: npt.NDArray[np.float32]


def _position(
    elements: npt.NDArray[np.uint8],
    scales: npt.NDArray[np.uint8],
    vocabulary: int,
    vlen: int,
    vector_format: str,
    fp_format: str,
) -> tuple[int, np.float32]:
    """Candidate and confidence of one position, in the order in which the machine computes."""
    count = -(-vocabulary // vlen)
    decoded = mx_decode_row("mxfp8_e4m3", 32, elements, scales, vocabulary, vector_format)
    table = np.empty((count, vlen), decoded.dtype)
    # Lanes beyond the vocabulary are filled with -inf, whose exponential is clamped to exp(-88).
    table[...] = from_float(np.float32(-np.inf), decoded)
    table.reshape(-1)[:vocabulary] = decoded
    best = np.float32(-np.inf)
    index = 0
    _, values, lanes = rows.max_index(table)
    for row in range(count):
        if values[row] > best:
            best = np.float32(round_to(fp_format, values[row]))
            index = row * vlen + int(lanes[row])
    terms = rows.sum(rows.exp(rows.sub_vf(table, best)))
    total = np.float32(0)
    for term in terms:
        total = np.float32(round_to(fp_format, elementary.add(total, term)))
    return index, np.float32(round_to(fp_format, elementary.reciprocal(total)))


def sampling_step(
    elements: npt.NDArray[np.uint8],
    scales: npt.NDArray[np.uint8],
    vocabulary: int,
    tokens: npt.NDArray[np.integer],
    k: npt.NDArray[np.integer],
    mask_id: int,
    *,
    vlen: int,
    vector_format: str = "bf16",
    fp_format: str = "fp32",
) -> SamplingStep:
    """One step from MXFP8 E4M3 logits in blocks of 32.

    Args:
        elements: uint8, shape (B, L, at least V).
        scales: uint8, shape (B, L, ceil(V / 32)).
        vocabulary: V.
        tokens: Shape (B, L).
        k: Positions to commit per row, shape (B,).
        mask_id: Token of a masked position.
        vlen: Lanes of the machine: the order of the sums depends on it.
        vector_format: Format of Vector SRAM.
        fp_format: Format of FP registers and FP SRAM.
    """
    batch, positions = tokens.shape
    argmax = np.zeros((batch, positions), np.int32)
    confidence = np.zeros((batch, positions), np.float32)
    transfer = np.zeros((batch, positions), np.float32)
    for b in range(batch):
        for p in range(positions):
            argmax[b, p], confidence[b, p] = _position(
                elements[b, p, :vocabulary],
                scales[b, p],
                vocabulary,
                vlen,
                vector_format,
                fp_format,
            )
        masked = (tokens[b] == mask_id).astype(np.float32)
        transfer[b] = topk_mask(confidence[b], masked, positions, int(k[b]))
    committed = np.where(transfer != 0, argmax, tokens).astype(np.int32)
    return SamplingStep(committed, argmax, confidence, transfer)


def float64_confidence(decoded: npt.NDArray[np.uint16]) -> npt.NDArray[np.float64]:
    """1 / sum exp(logit - max) of BF16 logits (..., V), in float64: what the step approximates."""
    x = bf16_to_float(decoded).astype(np.float64)
    return 1.0 / np.exp(x - x.max(axis=-1, keepdims=True)).sum(axis=-1)  # type: ignore[no-any-return]
