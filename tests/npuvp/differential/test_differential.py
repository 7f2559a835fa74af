"""Random programs on the machine and on the golden machine: all state must agree bit for bit.

NPUVP_FUZZ multiplies the number of programs (`make fuzz`), NPUVP_SEED shifts their seeds.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from npuvp.firmware import Text
from npuvp.isa import instruction_text, load

from . import multicore
from .compare import Run, compare, minimal
from .contents import HBM_BYTES, firmware
from .platforms import GEOMETRIES, description
from .programs import ProgramGenerator
from .rules import STRUCTURAL

TIMES = int(os.environ.get("NPUVP_FUZZ", "1"))
SEED = int(os.environ.get("NPUVP_SEED", "0"))

executed: Counter[str] = Counter()
traps: Counter[str] = Counter()


def check(described, program, seed, what):
    run = compare(described, program, HBM_BYTES)
    if run is None:  # it does not end
        return None
    note(run)
    if run.faults:
        words = minimal(described, program, HBM_BYTES)
        text = "\n".join(
            f"  {pc:4} {instruction_text(word, pc)}"
            for pc, word in enumerate(words)
            if word != 0x22
        )
        shrunk = replace(program, cores={-1: Text(words, [None] * len(words))})
        again = compare(described, shrunk, HBM_BYTES)
        differences = "\n".join(again.faults if again else run.faults)
        pytest.fail(f"{what}, seed {seed}:\n{differences}\nprogram:\n{text}")
    return run


def note(run: Run) -> None:
    executed.update(run.executed)
    if run.end.message:
        traps[run.end.message] += 1


@pytest.mark.parametrize("name", GEOMETRIES)
def test_random_programs(name):
    described = description(name)
    for number in range(120 * TIMES):
        seed = [SEED, number, sum(map(ord, name))]
        rng = np.random.default_rng(seed)
        generator = ProgramGenerator(described, rng, faulty=number % 3 == 0)
        words = generator.program(int(rng.choice([3, 10, 40])))
        check(described, firmware(described, words, rng), seed, name)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_instruction_by_itself(name):
    """Many calls of one instruction on all kinds of contents, and nothing else."""
    described = description(name)
    for number, instruction in enumerate(load().instructions):
        if instruction.name in STRUCTURAL:
            continue
        for turn in range(TIMES):
            seed = [SEED, turn, number, sum(map(ord, name))]
            rng = np.random.default_rng(seed)
            generator = ProgramGenerator(described, rng, [instruction])
            words = generator.program(8)
            program = firmware(described, words, rng)
            run = check(described, program, seed, f"{name}: {instruction.name}")
            assert run is not None
            assert run.end.message == "", f"{instruction.name}: {run.end.text}"


@pytest.mark.parametrize("cores", [2, 3])
def test_cores_together(cores):
    described = multicore.description(cores)
    for number in range(12 * TIMES):
        seed = [SEED, number, cores]
        program = multicore.program(described, np.random.default_rng(seed))
        run = compare(described, program, HBM_BYTES)
        assert run is not None
        note(run)
        assert run.end.message == ""
        assert not run.faults, f"seed {seed}:\n" + "\n".join(run.faults)


def test_everything_was_covered():
    """After the tests above, in the order of this file."""
    if not executed:
        pytest.skip("the tests above did not run in this process")
    names = {instruction.text for instruction in load().instructions} - {"C_TRAP"}
    rare = {name: executed[name] for name in names if executed[name] < 10}
    assert not rare
    assert traps["firmware trap"]
    assert traps["illegal instruction word"]
    assert len(traps) >= 12, traps
