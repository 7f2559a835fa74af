"""Firmware examples for many cores: a matrix product split by columns, and an all-reduce."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from npuvp.errors import InputError
from npuvp.isa import assemble
from npuvp.platform import Platform
from npuvp.resolve import FORMAT_BYTES
from npuvp.run import Result

__all__ = ["all_reduce", "split_gemm"]

_PROGRAMS = Path(__file__).parent / "programs"


def _array(name: str, value: ArrayLike, dimensions: int) -> NDArray[np.float32]:
    array = np.asarray(value, np.float32)
    if array.ndim != dimensions or 0 in array.shape:
        raise InputError(f"{name}: shape {array.shape}, allowed: {dimensions} dimensions, none 0")
    return array


def _vector_rows(core: dict[str, Any]) -> int:
    rows: int = core["vector_sram_bytes"] // (core["vlen"] * FORMAT_BYTES[core["vector_format"]])
    return rows


def split_gemm(platform: Platform, x: ArrayLike, w: ArrayLike, **options: Any) -> Result:
    """Runs y = x . transpose(w) with the columns of y split over all cores.

    Every output is one sum over K in ascending order, so the bits do not depend on how many cores
    share the work. Other options are those of `Platform.run`.

    Args:
        platform: its cores are alike, with MLEN = VLEN.
        x: (ROWS, K), rounded to BF16; ROWS a multiple of BLEN * MATRIX_ROWS, K of VLEN.
        w: (N, K), rounded to BF16; N / cores a multiple of BLEN, and at most VLEN.

    Returns:
        The run, with the output ``y`` (ROWS, N).

    Raises:
        InputError: arrays of other dimensions, or of another K.
        AssemblyError: shapes that do not divide, with the rule that they break.
    """
    left, right = _array("x", x, 2), _array("w", w, 2)
    if left.shape[1] != right.shape[1]:
        raise InputError(f"x has K = {left.shape[1]}, w has K = {right.shape[1]}: must be equal")
    cores = platform.description()["cores"]
    core = cores[0]["parameters"]
    if core["mlen"] != core["vlen"]:
        raise InputError(f"core.mlen is {core['mlen']}, allowed here: vlen, {core['vlen']}")
    defines = {
        "CORES": len(cores),
        "ROWS": left.shape[0],
        "K": left.shape[1],
        "N": right.shape[0],
        "VLEN": core["vlen"],
        "BLEN": core["blen"],
        "GROUP": core["blen"] * core["matrix_rows"],
        "VECTOR_ROWS": _vector_rows(core),
        "TILES": core["matrix_sram_bytes"]
        // (core["mlen"] ** 2 * FORMAT_BYTES[core["matrix_format"]]),
    }
    firmware = assemble(_PROGRAMS / "split_gemm.s", defines=defines)
    return platform.run(firmware, inputs={"x": left, "w": right}, outputs=["y"], **options)


def all_reduce(platform: Platform, values: ArrayLike, **options: Any) -> Result:
    """Adds up rows over all cores; in the end every core has the sums.

    Sums are in the storage format of Vector SRAM (BF16), in the order of the cores. Other options
    are those of `Platform.run`.

    Args:
        platform: up to 32 cores that are alike.
        values: (cores, ROWS, VLEN), rounded to BF16: what each core has; ROWS a multiple of the
            number of cores.

    Returns:
        The run, with the output ``y`` (cores, ROWS, VLEN): what each core has in the end.

    Raises:
        InputError: another shape.
        AssemblyError: more cores than a multicast reaches.
    """
    given = _array("values", values, 3)
    description = platform.description()
    cores = description["cores"]
    if cores[0]["parameters"]["vector_format"] != "bf16":
        raise InputError("core.vector_format is not bf16, which the rows are copied in")
    vlen = cores[0]["parameters"]["vlen"]
    if given.shape[0] != len(cores) or given.shape[1] % len(cores) or given.shape[2] != vlen:
        raise InputError(
            f"values: shape {given.shape}, allowed: ({len(cores)}, a multiple of {len(cores)}, "
            f"{vlen}), as the platform's cores"
        )
    vector = {region["name"]: region["base"] for region in description["memory_map"]}
    defines = {
        "CORES": len(cores),
        "PART": given.shape[1] // len(cores),
        "VLEN": vlen,
        "VECTOR_ROWS": _vector_rows(cores[0]["parameters"]),
        "VECTOR0": vector[f"{cores[0]['name']}.vector"],
        "WINDOW": description["platform"]["core_window"],
    }
    firmware = assemble(_PROGRAMS / "all_reduce.s", defines=defines)
    return platform.run(firmware, inputs={"x": given}, outputs=["y"], **options)
