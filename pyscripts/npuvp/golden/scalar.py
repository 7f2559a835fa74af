"""Scalar and control instructions."""

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from npuvp.golden import elementary
from npuvp.golden.faults import Fault
from npuvp.golden.formats import float_of_bits
from npuvp.golden.philox import gumbel, philox, uniform
from npuvp.golden.state import CSR, Core, Decoded, Loop

if TYPE_CHECKING:
    from npuvp.golden.machine import GoldenMachine

__all__ = ["CONDITIONS", "CONTROL", "SCALAR"]

CONDITIONS: tuple[Callable[[Any, Any], Any], ...] = (
    operator.eq,
    operator.ne,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
)
"""By number of the value set `condition`; with a NaN only `ne` holds."""

Scalar = Callable[[Core, Decoded], None]
Control = Callable[["GoldenMachine", Core, Decoded], bool]


def _integer(compute: Callable[[int, int, int], int]) -> Scalar:
    def run(core: Core, d: Decoded) -> None:
        core.write_gp(d.rd, compute(core.gp[d.rs1], core.gp[d.rs2], d.imm))

    return run


def _unary(function: Callable[[Any], Any]) -> Scalar:
    def run(core: Core, d: Decoded) -> None:
        core.write_fp(d.rd, function(core.fp[d.rs1]))

    return run


def _binary(function: Callable[[Any, Any], Any]) -> Scalar:
    def run(core: Core, d: Decoded) -> None:
        core.write_fp(d.rd, function(core.fp[d.rs1], core.fp[d.rs2]))

    return run


def _load_int(core: Core, d: Decoded) -> None:
    core.write_gp(d.rd, int(core.int_sram[core.words("int", core.gp[d.rs1] + d.imm)][0]))


def _store_int(core: Core, d: Decoded) -> None:
    core.int_sram[core.words("int", core.gp[d.rs1] + d.imm)] = core.gp[d.rd]


def _load_fp(core: Core, d: Decoded) -> None:
    core.copy_fp(d.rd, core.fp_sram[core.words("fp", core.gp[d.rs1] + d.imm)])


def _store_fp(core: Core, d: Decoded) -> None:
    core.fp_sram[core.words("fp", core.gp[d.rs1] + d.imm)] = core.fp[d.rd : d.rd + 1]


def _compare_fp(core: Core, d: Decoded) -> None:
    with np.errstate(invalid="ignore"):
        holds = CONDITIONS[d.rs3](core.fp[d.rs1], core.fp[d.rs2])
    core.write_gp(d.rd, int(holds))


def _set_fp(core: Core, d: Decoded) -> None:
    core.write_fp(d.rd, float_of_bits(core.gp[d.rs1]))


def _convert(core: Core, d: Decoded) -> None:
    core.write_fp(d.rd, np.float32(core.gp[d.rs1]))


def _random(core: Core, d: Decoded) -> None:
    counter = [core.csr_value(f"rng_counter{i}") for i in range(4)]
    counter[1] = core.gp[d.rs1]
    words = philox(counter, [core.csr_value("rng_key0"), core.csr_value("rng_key1")])[:1]
    core.write_fp(d.rd, (gumbel(words) if d.rs2 else uniform(words))[0])


SCALAR: dict[str, Scalar] = {
    "S_ADD_INT": _integer(lambda a, b, imm: a + b),
    "S_ADDI_INT": _integer(lambda a, b, imm: a + imm),
    "S_SUB_INT": _integer(lambda a, b, imm: a - b),
    "S_MUL_INT": _integer(lambda a, b, imm: a * b),
    "S_LUI_INT": _integer(lambda a, b, imm: imm << 12),
    "S_AND_INT": _integer(lambda a, b, imm: a & b),
    "S_OR_INT": _integer(lambda a, b, imm: a | b),
    "S_SHL_INT": _integer(lambda a, b, imm: a << b if b < 32 else 0),
    "S_SHR_INT": _integer(lambda a, b, imm: a >> b if b < 32 else 0),
    "S_LD_INT": _load_int,
    "S_ST_INT": _store_int,
    "S_ADD_FP": _binary(elementary.add),
    "S_SUB_FP": _binary(elementary.sub),
    "S_MUL_FP": _binary(elementary.mul),
    "S_MAX_FP": _binary(elementary.max),
    "S_MIN_FP": _binary(elementary.min),
    "S_EXP_FP": _unary(elementary.exp),
    "S_RECI_FP": _unary(elementary.reciprocal),
    "S_SQRT_FP": _unary(elementary.sqrt),
    "S_LOG_FP": _unary(elementary.log),
    "S_CMP_FP": _compare_fp,
    "S_RAND_FP": _random,
    "S_SET_FP": _set_fp,
    "S_ITOF": _convert,
    "S_LD_FP": _load_fp,
    "S_ST_FP": _store_fp,
}


# Control: these move the pc themselves, and return False where the core has to wait.


def _next(core: Core) -> bool:
    core.pc += 1
    return True


def _set_csr(name: str) -> Control:
    def run(machine: "GoldenMachine", core: Core, d: Decoded) -> bool:
        core.csr[CSR[name]] = core.gp[d.rd]
        return _next(core)

    return run


def _set_address(machine: "GoldenMachine", core: Core, d: Decoded) -> bool:
    core.ha[d.rd] = core.gp[d.rs1] << 32 | core.gp[d.rs2]
    return _next(core)


def _read_csr(machine: "GoldenMachine", core: Core, d: Decoded) -> bool:
    core.write_gp(d.rd, machine.read_csr(core, d.imm))
    return _next(core)


def _write_csr(machine: "GoldenMachine", core: Core, d: Decoded) -> bool:
    core.csr[d.imm] = core.gp[d.rs1]
    return _next(core)


_MOST_LOOPS = 65536


def _loop_start(machine: "GoldenMachine", core: Core, d: Decoded) -> bool:
    if len(core.loops) == _MOST_LOOPS:
        raise Fault("loop stack overflow", f"{_MOST_LOOPS} loops are open")
    core.write_gp(d.rd, d.imm)
    core.loops.append(Loop(core.pc, d.rd, core.instructions))
    return _next(core)


def _loop_end(machine: "GoldenMachine", core: Core, d: Decoded) -> bool:
    found = next((loop for loop in reversed(core.loops) if loop.counter == d.rd), None)
    if found is None:
        raise Fault("C_LOOP_END without a loop on its register", f"open loops: {len(core.loops)}")
    if core.gp[d.rd] > 1:
        core.write_gp(d.rd, core.gp[d.rd] - 1)
        found.iteration_began = core.instructions
        core.pc = found.start + 1
        return True
    core.write_gp(d.rd, 0)
    core.loops = [loop for loop in core.loops if loop is not found]
    return _next(core)


def _break(machine: "GoldenMachine", core: Core, d: Decoded) -> bool:
    if not core.loops:
        raise Fault("C_BREAK outside every loop")
    core.write_gp(core.loops.pop().counter, 0)
    return _next(core)


def _signed(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value


def _branch(holds: Callable[[int, int], bool]) -> Control:
    def run(machine: "GoldenMachine", core: Core, d: Decoded) -> bool:
        if not holds(core.gp[d.rs1], core.gp[d.rs2]):
            return _next(core)
        target = core.pc + d.imm
        if not 0 <= target <= len(core.text):
            raise Fault(
                "branch outside the program",
                f"target {target}, the program has words 0..{len(core.text) - 1}",
            )
        core.pc = target
        return True

    return run


def _mark(machine: "GoldenMachine", core: Core, d: Decoded) -> bool:
    machine.marks.append((core.index, d.imm, core.gp[d.rs1]))
    return _next(core)


def _halt(machine: "GoldenMachine", core: Core, d: Decoded) -> bool:
    core.halted = True
    core.exit_code = core.gp[d.rs1]
    return True


def _trap(machine: "GoldenMachine", core: Core, d: Decoded) -> bool:
    raise Fault("firmware trap", f"code {core.gp[d.rs1]}")


def _fence(machine: "GoldenMachine", core: Core, d: Decoded) -> bool:
    # Transfers of the golden machine are complete when their instruction is.
    return _next(core)


def _host_push(machine: "GoldenMachine", core: Core, d: Decoded) -> bool:
    machine.host_words.append((core.index, core.gp[d.rs1]))
    return _next(core)


def _doorbell(machine: "GoldenMachine", core: Core, d: Decoded) -> bool:
    machine.doorbells.append((core.index, core.gp[d.rs1]))
    return _next(core)


def _sync_index(machine: "GoldenMachine", core: Core, d: Decoded, what: str) -> int:
    index = core.gp[d.rs1]
    if index >= machine.semaphore_count:
        raise Fault(f"no such {what}", f"{index}, allowed: 0..{machine.semaphore_count - 1}")
    return index


def _barrier(machine: "GoldenMachine", core: Core, d: Decoded) -> bool:
    index, count = _sync_index(machine, core, d, "barrier"), core.gp[d.rs2]
    if not 1 <= count <= core.count:
        raise Fault(
            "barrier of an impossible number of cores", f"{count}, allowed: 1..{core.count}"
        )
    if machine.barriers.pass_through(index, core.index, count):
        core.waiting = ""
        return _next(core)
    core.waiting = machine.barriers.describe(index)
    return False


def _signal(machine: "GoldenMachine", core: Core, d: Decoded) -> bool:
    machine.semaphores.signal(_sync_index(machine, core, d, "semaphore"), core.gp[d.rs2])
    return _next(core)


def _wait(machine: "GoldenMachine", core: Core, d: Decoded) -> bool:
    index, count = _sync_index(machine, core, d, "semaphore"), core.gp[d.rs2]
    if machine.semaphores.take(index, core.index, count):
        core.waiting = ""
        return _next(core)
    core.waiting = machine.semaphores.describe(index, count)
    return False


CONTROL: dict[str, Control] = {
    "C_SET_ADDR_REG": _set_address,
    "C_SET_SCALE_REG": _set_csr("scale"),
    "C_SET_STRIDE_REG": _set_csr("stride"),
    "C_SET_V_MASK_REG": _set_csr("v_mask"),
    "C_LOOP_START": _loop_start,
    "C_LOOP_END": _loop_end,
    "C_BREAK": _break,
    "C_BEQ": _branch(lambda a, b: a == b),
    "C_BNE": _branch(lambda a, b: a != b),
    "C_BLTU": _branch(lambda a, b: a < b),
    "C_BGEU": _branch(lambda a, b: a >= b),
    "C_BLT": _branch(lambda a, b: _signed(a) < _signed(b)),
    "C_BGE": _branch(lambda a, b: _signed(a) >= _signed(b)),
    "C_JUMP": _branch(lambda a, b: True),
    "C_HALT": _halt,
    "C_TRAP": _trap,
    "C_CSRR": _read_csr,
    "C_CSRW": _write_csr,
    "C_MARK": _mark,
    "C_FENCE": _fence,
    "C_BARRIER": _barrier,
    "C_SEM_SIGNAL": _signal,
    "C_SEM_WAIT": _wait,
    "C_HOST_PUSH": _host_push,
    "C_DOORBELL": _doorbell,
}
