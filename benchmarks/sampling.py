"""Simulating the sampling step, on two memories, against computing it in NumPy."""

import numpy as np
from npuvp._core import convert
from numpy.typing import NDArray

import npuvp as vp
from benchmarks.measurement import Measurement, best_of
from npuvp.golden.mx import element_values
from npuvp.sampling import sample, seeded_logits, workload

BATCH, POSITIONS, VOCABULARY, BLOCK = 16, 32, 126_464, 32


def numpy_step(
    elements: NDArray[np.uint8],
    scales: NDArray[np.uint8],
    tokens: NDArray[np.int32],
    k: NDArray[np.int32],
    mask_id: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The step from MXFP8 bytes in well-written NumPy: row by row, so that it stays in cache."""
    table = element_values("mxfp8_e4m3")
    powers = np.ldexp(np.float32(1), np.arange(-127, 128))
    x = np.empty((VOCABULARY // BLOCK, BLOCK), np.float32)
    flat = x.reshape(-1)
    argmax = np.zeros(tokens.shape, np.int32)
    confidence = np.zeros(tokens.shape, np.float32)
    result = tokens.copy()
    for b in range(tokens.shape[0]):
        for p in range(tokens.shape[1]):
            np.take(table, elements[b, p], out=x, mode="clip")
            np.multiply(x, powers[scales[b, p]][:, None], out=x)
            best = int(flat.argmax())
            np.subtract(flat, flat[best], out=flat)
            np.exp(flat, out=flat)
            argmax[b, p] = best
            confidence[b, p] = 1 / flat.sum()
        eligible = np.where(tokens[b] == mask_id, confidence[b], -np.inf)
        chosen = np.argpartition(-eligible, k[b] - 1)[: k[b]]
        result[b, chosen] = argmax[b, chosen]
    return result, confidence


def measure() -> dict[str, Measurement]:
    """Functional simulation / NumPy, the same on the built-in HBM, and timing mode / functional."""
    work = workload(seeded_logits(BATCH, POSITIONS, VOCABULARY))
    data, scale_data = convert.encode_rows(work.logits.reshape(-1, VOCABULARY), "mxfp8_e4m3", BLOCK)
    elements = data.reshape(BATCH, POSITIONS, VOCABULARY // BLOCK, BLOCK)
    scales = scale_data.reshape(BATCH, POSITIONS, VOCABULARY // BLOCK)
    platform = vp.Platform.load("platform/paper.yaml")
    cycle_level = vp.Platform.load(
        "platform/paper.yaml", hbm={"backend": "builtin", "preset": "HBM2E"}
    )
    results = {}

    def simulate(mode: str) -> float:
        results[mode] = sample(platform, work, mode=mode, progress=False)
        return results[mode].seconds

    def simulate_hbm() -> float:
        results["hbm"] = sample(cycle_level, work, progress=False)
        return results["hbm"].seconds

    def compute() -> None:
        results["numpy"] = numpy_step(elements, scales, work.tokens, work.k, work.mask_id)

    functional, timing, hbm, numpy_seconds = best_of(
        5, lambda: simulate("functional"), lambda: simulate("timing"), simulate_hbm, compute
    )
    accesses = results["hbm"].stats["hbm"]["counts"]["reads"]
    agreement = np.mean(results["functional"].outputs["tokens"] == results["numpy"][0])
    note = (
        f"{functional:.3f} s simulated, {numpy_seconds:.3f} s in NumPy; "
        f"tokens agree {agreement:.1%}"
    )
    return {
        "sampling_functional_vs_numpy": Measurement(
            functional / numpy_seconds, 1.0, "lower", note=note
        ),
        "sampling_builtin_hbm_vs_numpy": Measurement(
            hbm / numpy_seconds,
            1.3,
            "lower",
            note=f"{hbm:.3f} s with {accesses / 1e6:.2f} M accesses of HBM2E",
        ),
        "sampling_timing_vs_functional": Measurement(
            timing / functional, 0.25, "lower", note=f"{timing:.3f} s / {functional:.3f} s"
        ),
    }
