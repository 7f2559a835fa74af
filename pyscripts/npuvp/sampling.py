"""One sampling step of a masked-diffusion language model, as firmware on a platform."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from npuvp.errors import InputError
from npuvp.firmware import Firmware
from npuvp.isa import assemble
from npuvp.platform import Platform
from npuvp.run import Result

__all__ = [
    "FORMS",
    "MASK_ID",
    "Workload",
    "sample",
    "sampling_firmware",
    "seeded_logits",
    "workload",
]

#: Mask token of LLaDA-8B (GSAI-ML/LLaDA-8B-Instruct, config.json).
MASK_ID = 126336
#: Results of a step.
OUTPUTS = ("tokens", "argmax", "confidence", "transfer")
FORMS = ("performance", "edge", "split")
_PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True)
class Workload:
    """Checked inputs of a step.

    Attributes:
        logits: float32, shape (B, L, V).
        tokens: int32, shape (B, L); `mask_id` where masked.
        k: int32, shape (B,): positions to commit.
        mask_id: Token of a masked position.
    """

    logits: NDArray[np.float32]
    tokens: NDArray[np.int32]
    k: NDArray[np.int32]
    mask_id: int

    @property
    def inputs(self) -> dict[str, NDArray[Any]]:
        """By the firmware's tensor names."""
        return {"logits": self.logits, "tokens": self.tokens, "k": self.k}


def seeded_logits(
    batch: int, positions: int, vocabulary: int, seed: int = 0
) -> NDArray[np.float32]:
    """Logits with the statistics of a language model: a few high peaks over a broad floor.

    The floor is normal with a standard deviation of 2; at each position 8 tokens (fewer in a small
    vocabulary) stand above it by 6 plus an exponential of mean 4, which gives confidences from
    below a percent to nearly one.

    Returns:
        float32, shape (batch, positions, vocabulary).
    """
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((batch * positions, vocabulary), dtype=np.float32)
    logits *= 2.0
    peaks = min(8, vocabulary)
    for row in logits:
        where = rng.integers(0, vocabulary, peaks)
        row[where] += 6.0 + rng.exponential(4.0, peaks).astype(np.float32)
    return logits.reshape(batch, positions, vocabulary)


def workload(
    logits: ArrayLike,
    *,
    tokens: ArrayLike | None = None,
    k: ArrayLike | None = None,
    mask_id: int | None = None,
) -> Workload:
    """Checks the inputs of a sampling step.

    Args:
        logits: Floats, shape (B, L, V), or (L, V) for one row.
        tokens: Integers, shape (B, L); None: everything masked.
        k: Positions to commit, a number or shape (B,); None: a quarter of them, rounded up.
        mask_id: Token of a masked position; None: LLaDA's 126336, or V - 1 in a smaller vocabulary.

    Raises:
        InputError: Every fault at once.
    """
    given = np.asarray(logits)
    if given.dtype.kind != "f":
        raise InputError(f"logits: type {given.dtype}, allowed: floats")
    if given.ndim == 2:
        given = given[None]
    if given.ndim != 3 or 0 in given.shape:
        raise InputError(
            f"logits: shape {np.shape(logits)}, allowed: (B, L, V) or (L, V), none of them 0"
        )
    batch, positions, vocabulary = given.shape
    faults = []
    # Row by row: a mask of the whole array would be as large as a quarter of it.
    flat = given.reshape(-1, vocabulary)
    bad = [i for i, row in enumerate(flat) if np.isnan(row).any()]
    if bad:
        b, p = divmod(bad[0], positions)
        v = int(np.flatnonzero(np.isnan(flat[bad[0]]))[0])
        faults.append(f"logits: NaN at [{b}, {p}, {v}], and in {len(bad)} of {len(flat)} positions")
    mask = min(MASK_ID, vocabulary - 1) if mask_id is None else mask_id
    if not 0 <= mask < 2**31:
        faults.append(f"mask_id: {mask}, allowed: 0..2147483647")
    ids = np.full((batch, positions), mask) if tokens is None else np.asarray(tokens)
    counts = np.full(batch, -(-positions // 4)) if k is None else np.asarray(k)
    if counts.ndim == 0:
        counts = np.full(batch, counts)
    for name, array, shape in (("tokens", ids, (batch, positions)), ("k", counts, (batch,))):
        if array.dtype.kind not in "iu":
            faults.append(f"{name}: type {array.dtype}, allowed: integers")
        elif array.shape != shape:
            faults.append(f"{name}: shape {array.shape}, allowed: {shape}, as the logits are")
        elif array.min() < 0 or array.max() >= 2**31:
            faults.append(f"{name}: {array.min()}..{array.max()}, allowed: 0..2147483647")
    if not faults:
        masked = (ids == mask).sum(axis=1)
        faults = [
            f"k[{b}]: {counts[b]}, but row {b} has {masked[b]} masked positions"
            for b in range(batch)
            if counts[b] > masked[b]
        ]
    if faults:
        raise InputError("a sampling step cannot run:\n  " + "\n  ".join(faults))
    return Workload(
        np.ascontiguousarray(given, np.float32), ids.astype(np.int32), counts.astype(np.int32), mask
    )


def sampling_firmware(
    platform: Platform,
    batch: int,
    positions: int,
    vocabulary: int,
    mask_id: int = MASK_ID,
    form: str | None = None,
) -> Firmware:
    """Firmware of one step over batch x positions positions.

    Args:
        platform: Its first core's geometry is what the firmware is made for.
        batch: B.
        positions: L.
        vocabulary: V.
        mask_id: Token of a masked position.
        form: "performance" (a position's logits preloaded), "edge" (the vocabulary in chunks),
            "split" (all cores share the vocabulary, with the same results), or None: the last one
            where there are several cores, otherwise the first where it fits.

    Raises:
        InputError: An unknown form.
        AssemblyError: The step does not fit the platform; the message says what and why.
    """
    if form is not None and form not in FORMS:
        raise InputError(f"form {form!r} (allowed: {', '.join(FORMS)})")
    cores = platform.description()["cores"]
    core = cores[0]["parameters"]
    vlen = core["vlen"]
    unit = 2 if core["vector_format"] == "bf16" else 4
    rows = core["vector_sram_bytes"] // (vlen * unit)
    mask_rows = -(-positions // vlen)
    needed = -(-vocabulary // vlen)
    free = (rows - 2 * mask_rows) // 2
    if form is None and len(cores) > 1:
        form = "split"
    if form is None:
        # Unrolled: 7 words per row of logits, and room for the rest; branches reach 8192 words.
        fits = needed <= free and 7 * needed + 300 <= min(core["imem_words"], 8192)
        form = "performance" if fits else "edge"
    defines = {
        "BATCH": batch,
        "POSITIONS": positions,
        "VOCAB": vocabulary,
        "MASK_ID": mask_id,
        "VLEN": vlen,
        "VECTOR_ROWS": rows,
        "INT_WORDS": core["int_sram_words"],
        "FP_WORDS": core["fp_sram_words"],
    }
    if form == "performance":
        defines["GROUP_ROWS"] = core["prefetch_v_rows"]
    elif form == "split":
        defines["CORES"] = len(cores)
    else:
        step = max(1, 32 // vlen)
        defines["CHUNK_ROWS"] = max(step, min(free, -(-needed // step) * step) // step * step)
    return assemble(_PROGRAMS / f"sampling_{form}.s", defines=defines)


def sample(
    platform: Platform,
    work: Workload,
    *,
    form: str | None = None,
    mode: str = "functional",
    **options: Any,
) -> Result:
    """Runs one sampling step.

    Outputs ``tokens``, ``argmax``, ``confidence`` and ``transfer`` have shape (B, L). Other options
    are those of `Platform.run`.
    """
    batch, positions, vocabulary = work.logits.shape
    firmware = sampling_firmware(platform, batch, positions, vocabulary, work.mask_id, form)
    options.setdefault("outputs", OUTPUTS)
    return platform.run(firmware, inputs=work.inputs, mode=mode, **options)
