"""Architectural state of a core, and the checks of everything that instructions address."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npuvp.golden.faults import Fault
from npuvp.golden.formats import Row, float_bits, float_of_bits, round_to
from npuvp.golden.rows import LaneMask
from npuvp.isa.declaration import Instruction, load
from npuvp.isa.encoding import decode, illegal_reason

__all__ = ["CSR", "Core", "Decoded", "Loop", "decode_word"]

CSR = load().csr_numbers()
"""Numbers of the CSRs by name."""

_DTYPES: dict[str, Any] = {"bf16": np.uint16, "fp32": np.float32}


@dataclass(frozen=True)
class Decoded:
    """A word as the machine reads it; `imm` is signed where it is relative."""

    word: int
    instruction: Instruction | None
    rd: int
    rs1: int
    rs2: int
    rs3: int
    f1: int
    imm: int

    @property
    def name(self) -> str:
        """Identifier of the instruction; empty for an illegal word."""
        return self.instruction.name if self.instruction else ""


def decode_word(word: int) -> Decoded:
    """Reads a word by the machine's fields (the text's may differ)."""
    found = decode(word)
    fields = load().fields
    imm = 0
    if found is not None:
        for operand in found.instruction.operands:
            if operand.field is not None and operand.field.name.startswith("imm"):
                imm = operand.field.get(word)
                if operand.kind == "rel" and imm >= operand.field.limit // 2:
                    imm -= operand.field.limit
    rd, rs1, rs2, rs3, f1 = (fields[name].get(word) for name in ("rd", "rs1", "rs2", "rs3", "f1"))
    return Decoded(word, found.instruction if found else None, rd, rs1, rs2, rs3, f1, imm)


def illegal_detail(word: int) -> str:
    """Why a word is illegal."""
    return f"word 0x{word:08x}: {illegal_reason(word)}"


@dataclass
class Loop:
    """An open loop: pc of its C_LOOP_START, its register, when this iteration began."""

    start: int
    counter: int
    iteration_began: int


class Core:
    """A core's registers, SRAMs, accumulators and loop stack.

    Attributes:
        p: Parameters of the core, as `Platform.description()` gives them.
        index: Its number.
        count: Number of cores.
        gp, ha: Integer and address registers, plain integers. fp: float32.
        vector: Vector SRAM, shape (rows, VLEN), uint16 (BF16) or float32.
        matrix: Matrix SRAM, shape (rows, MLEN).
        fp_sram: float32, every word rounded to the format. int_sram: uint32.
        instructions: Retired ones.
        waiting: What it waits for; empty if it goes on. halted: It has stopped for good.
    """

    def __init__(self, parameters: dict[str, Any], index: int, count: int):
        self.p = p = parameters
        self.index = index
        self.count = count
        self.vlen: int = p["vlen"]
        self.mlen: int = p["mlen"]
        self.blen: int = p["blen"]
        self.fp_format: str = p["fp_format"]
        self.vector_format: str = p["vector_format"]
        self.matrix_format: str = p["matrix_format"]
        self.gp = [0] * 16
        self.ha = [0] * 16
        self.fp: NDArray[np.float32] = np.zeros(8, np.float32)
        self.csr = [0] * 64
        self.csr[CSR["stride"]] = 1
        self.csr[CSR["bmm_scale"]] = int(float_bits(np.float32(p["bmm_scale"])))
        self.csr[CSR["dma_block"]] = 32
        self.loops: list[Loop] = []
        self.text: list[Decoded] = []
        self.pc = 0
        vector = np.zeros(p["vector_sram_bytes"] // _bytes(self.vector_format), self._vector_dtype)
        self.vector: Row = vector.reshape(-1, self.vlen)
        matrix = np.zeros(
            p["matrix_sram_bytes"] // _bytes(self.matrix_format), _DTYPES[self.matrix_format]
        )
        self.matrix: Row = matrix[: len(matrix) // self.mlen * self.mlen].reshape(-1, self.mlen)
        self.fp_sram: NDArray[np.float32] = np.zeros(p["fp_sram_words"], np.float32)
        self.int_sram: NDArray[np.uint32] = np.zeros(p["int_sram_words"], np.uint32)
        self.acc: dict[str, NDArray[np.float32]] = {}
        self.gp_writer = [-1] * 16
        self.instructions = 0
        self.waiting = ""
        self.halted = False
        self.exit_code = 0

    @property
    def _vector_dtype(self) -> Any:
        return _DTYPES[self.vector_format]

    # Registers

    def write_gp(self, index: int, value: int) -> None:
        """Sets an integer register, modulo 2^32; gp0 stays 0."""
        if index:
            self.gp[index] = value & 0xFFFFFFFF
            self.gp_writer[index] = self.pc

    def write_fp(self, index: int, value: Any) -> None:
        """Rounds into an FP register; f0 stays 0."""
        if index:
            self.fp[index] = round_to(self.fp_format, np.float32(value))

    def copy_fp(self, index: int, value: Any) -> None:
        """Copies bits into an FP register; f0 stays 0."""
        if index:
            self.fp[index : index + 1] = value

    def csr_value(self, name: str) -> int:
        """A CSR by name."""
        return self.csr[CSR[name]]

    def csr_float(self, name: str) -> np.float32:
        """A CSR that holds a float32 bit pattern."""
        return np.float32(float_of_bits(self.csr_value(name)))

    @property
    def head_length(self) -> int:
        """HLEN, or what head_len says."""
        hlen: int = self.p["hlen"]
        return self.csr_value("head_len") or hlen

    def mask(self, d: Decoded) -> LaneMask | None:
        """The lanes that V_MASK enables, if the mask field asks for them."""
        return LaneMask(self.csr_value("v_mask"), self.head_length) if d.rs3 else None

    # Addresses

    def vector_row(self, address: int, rows: int = 1) -> int:
        """Row of a Vector SRAM address from which `rows` rows must exist.

        Raises:
            Fault: No start of a row, or rows outside.
        """
        if address % self.vlen:
            raise Fault(
                "Vector SRAM address is not the start of a row",
                f"element address {address}, rows are multiples of {self.vlen}",
            )
        first = address // self.vlen
        if first >= len(self.vector) or rows > len(self.vector) - first:
            which = f"row {first}" if rows == 1 else f"rows {first}..{first + rows - 1}"
            raise Fault(
                "access outside Vector SRAM",
                f"{which}, the SRAM has rows 0..{len(self.vector) - 1}",
            )
        return first

    def words(self, space: str, index: int, count: int = 1) -> slice:
        """`count` words of FP or INT SRAM from `index` on.

        Raises:
            Fault: Not all of them exist.
        """
        size = len(self.fp_sram if space == "fp" else self.int_sram)
        if index + count > size:
            which = f"word {index}" if count == 1 else f"words {index}..{index + count - 1}"
            raise Fault(
                f"access outside {space.upper()} SRAM",
                f"{which}, the SRAM has words 0..{size - 1}",
            )
        return slice(index, index + count)

    def length(self, register: int) -> int:
        """Elements that an operand register asks for; gp0 stands for a row."""
        return self.gp[register] if register else self.vlen

    def row_length(self, n: int) -> int:
        """`n` itself, which must not exceed a row.

        Raises:
            Fault: It does.
        """
        if n > self.vlen:
            raise Fault("more elements than a row has", f"{n}, allowed: 0..{self.vlen}")
        return n

    def rows_for(self, n: int) -> int:
        """Rows that n elements take."""
        return max(1, -(-n // self.vlen))


def _bytes(storage: str) -> int:
    return {"bf16": 2, "fp32": 4}[storage]
