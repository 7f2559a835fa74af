"""What the compiler needs to know of a core."""

from dataclasses import dataclass

from npuvp.compiler.errors import CompileError

__all__ = ["Geometry"]

_ALIKE = (
    "vlen", "mlen", "blen", "matrix_rows", "vector_sram_bytes", "matrix_sram_bytes",
    "int_sram_words", "fp_sram_words", "vector_format", "matrix_format", "fp_format",
)  # fmt: skip
"""Parameters that the programs of all cores are made for."""


@dataclass(frozen=True)
class Geometry:
    """What the compiler needs to know of a core.

    Attributes:
        width: Lanes of a row, VLEN.
        mlen: Elements of a matrix operand row, MLEN; divides VLEN.
        blen: Outputs of a matrix product.
        group: Rows of a matrix product.
        vector_rows, matrix_rows: Rows of the SRAMs.
        int_words, fp_words: Words of the SRAMs.
        hbm_bytes: Size of the first memory.
    """

    width: int
    mlen: int
    blen: int
    group: int
    vector_rows: int
    matrix_rows: int
    int_words: int
    fp_words: int
    hbm_bytes: int

    @classmethod
    def of(cls, description: dict[str, object], count: int = 1) -> "Geometry":
        """The geometry of the first cores of a platform's description.

        Args:
            description: `Platform.description()`.
            count: How many cores share the work.

        Raises:
            CompileError: What the compiler does not support.
        """
        cores = description["cores"]
        memories = description["hbms"]
        assert isinstance(cores, list)
        assert isinstance(memories, list)
        p = cores[0]["parameters"]
        faults = [
            f"{other['name']}.{name}: {other['parameters'][name]}, allowed: {p[name]}, as "
            f"{cores[0]['name']} has (cores that share a generation are alike)"
            for other in cores[1:count]
            for name in _ALIKE
            if other["parameters"][name] != p[name]
        ]
        if p["vlen"] % p["mlen"]:
            faults.append(f"core.mlen: {p['mlen']}, allowed: a divisor of vlen = {p['vlen']}")
        for name in ("vector_format", "matrix_format"):
            if p[name] != "bf16":
                faults.append(f"core.{name}: {p[name]}, allowed: bf16")
        if p["fp_format"] != "fp32":
            faults.append(f"core.fp_format: {p['fp_format']}, allowed: fp32")
        if not memories:
            faults.append("no memory on this platform")
        if faults:
            raise CompileError(faults)
        return cls(
            width=p["vlen"],
            mlen=p["mlen"],
            blen=p["blen"],
            group=p["blen"] * p["matrix_rows"],
            vector_rows=p["vector_sram_bytes"] // (2 * p["vlen"]),
            matrix_rows=p["matrix_sram_bytes"] // (2 * p["mlen"]),
            int_words=p["int_sram_words"],
            fp_words=p["fp_sram_words"],
            hbm_bytes=memories[0]["parameters"]["size"],
        )
