"""The golden machine by itself: without the extension module, ends of a run, results, deadlocks."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from npuvp import DeadlockError, Platform, RunError, Trap, assemble, golden
from npuvp.golden.codec import GoldenCodec

ROOT = Path(__file__).parents[3]
EDGE = "platform/edge.yaml"

SUM = """
.tensor x, hbm, auto, mxint8, 2, 64, in
.tensor y, hbm, auto, fp32, 1, 2, out
    LIA a0, x, gp10
    LIA a1, y, gp10
    LI gp1, x.scales - x
    C_CSRW scale, gp1
    LI gp1, 5
    C_CSRW dma_format, gp1
    LI gp2, 2
    H_LD_V gp0, gp0, a0, gp2, 0
    LI gp3, 64
    V_RED_SUM f1, gp0
    V_RED_SUM f2, gp3
    S_ST_FP f1, gp0, 0
    S_ST_FP f2, gp0, 1
    LI gp1, 9
    C_CSRW dma_format, gp1
    C_CSRW dma_len, gp2
    LI gp2, 1
    H_ST_FP gp0, gp0, a1, gp2, 0
    C_HOST_PUSH gp3
    C_DOORBELL gp2
    C_MARK step, gp3
    C_HALT gp1
"""


def platform(cores=1):
    made = Platform("small")
    made.hbm("hbm", backend="ideal", size="1MiB", latency="20ns", bandwidth="64GB/s")
    for number in range(cores):
        made.core(f"core{number}", vlen=64, vector_sram_bytes="8KiB", int_sram_words=64)
    return made


def test_it_needs_no_extension_module():
    """Platform file, assembler and golden machine where importing npuvp._core fails."""
    program = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("npuvp._core"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import numpy as np
from npuvp import Platform, assemble, golden
result = golden.run(Platform.load({EDGE!r}), assemble({SUM!r}), inputs={{"x": np.ones((2, 64))}})
print(result.outputs["y"].tolist(), "npuvp._core" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.split("\n")[0] == "[[64.0, 64.0]] False"


def test_results():
    x = np.arange(128).reshape(2, 64) / 64
    result = golden.run(platform(), assemble(SUM), inputs={"x": x})
    codec = GoldenCodec()
    stored = codec.decode_rows(
        *codec.encode_rows(x.astype(np.float32), "mxint8", 32), "mxint8", 32, 2, 64
    )
    assert result.outputs["y"].tolist() == [stored.sum(axis=1).tolist()]
    assert result.host_words == [(0, 64)]
    assert result.doorbells == [(0, 1)]
    assert result.marks == [(0, 2, 64)]
    assert result.exit_codes == [9]
    assert result.instructions == [len(assemble(SUM).cores[0].words)]
    assert result.registers[0]["gp"][3] == 64
    assert result.registers[0]["pc"] == result.instructions[0] - 1


def test_a_description_is_enough():
    description = platform().description()
    x = np.ones((2, 64))
    first = golden.run(description, assemble(SUM), inputs={"x": x})
    second = golden.run(platform(), assemble(SUM), inputs={"x": x})
    assert first.outputs["y"].tobytes() == second.outputs["y"].tobytes()


@pytest.mark.parametrize(("limit", "ends"), [(29, False), (30, True)])
def test_instruction_limit(limit, ends):
    """A loop start, three times nine words, and one behind them: 29."""
    firmware = assemble("C_LOOP_START gp15, 3\n" + "NOP\n" * 8 + "C_LOOP_END gp15\nNOP\n")
    if ends:
        assert golden.run(platform(), firmware, max_instructions=limit).instructions == [29]
    else:
        with pytest.raises(RunError, match="more than 29 instructions, core 0 at pc 0x000b"):
            golden.run(platform(), firmware, max_instructions=limit)


def test_trap_text():
    firmware = assemble(
        "    LI gp7, 64\nnext:\n    S_ADDI_INT gp7, gp7, 1\n    V_ABS_V gp7, gp0\n", defines={}
    )
    with pytest.raises(Trap) as caught:
        golden.run(platform(), firmware)
    lines = [line.split() for line in str(caught.value).splitlines()]
    assert " ".join(lines[0]) == "core0 Vector SRAM address is not the start of a row"
    assert " ".join(lines[1][:6]) == "pc 0x0002 V_ABS_V gp7, gp0 <text>:4"
    assert " ".join(lines[2]).endswith("-> element address 65, rows are multiples of 64")
    assert " ".join(lines[3][:6]) == "last writer of gp7: pc 0x0001"
    assert caught.value.pc == 2
    assert caught.value.machine.registers(0)["gp"][7] == 65


def test_deadlock_says_who_waits_for_what():
    firmware = assemble(
        """
        .core 0
            LI gp1, 3
            LI gp2, 2
            C_SEM_SIGNAL gp1, gp2
            LI gp2, 5
            C_SEM_WAIT gp1, gp2
        .core 1
            LI gp2, 2
            C_BARRIER gp1, gp2
        """
    )
    with pytest.raises(DeadlockError) as caught:
        golden.run(platform(2), firmware)
    text = str(caught.value)
    assert "core0 at pc 0x0004 waits for semaphore 3 (needs 5, has 2)" in text
    assert "core1 at pc 0x0001 waits for barrier 0 (1 of 2 cores have arrived)" in text


def test_waiting_cores_are_served_in_order():
    """Core 1 asks first for more than there is; core 2 may not overtake it."""
    firmware = assemble(
        """
        .core 0
            LI gp1, 1
            LI gp2, 2
            C_BARRIER gp0, gp2      ; core 1 has asked by then
            C_SEM_SIGNAL gp1, gp1
            LI gp3, 2
            C_BARRIER gp3, gp2
            C_SEM_SIGNAL gp1, gp2
        .core 1
            LI gp1, 1
            LI gp2, 2
            C_SEM_WAIT gp1, gp2
            C_HOST_PUSH gp1
        .core 2
            LI gp1, 1
            LI gp2, 2
            C_BARRIER gp0, gp2
            LI gp3, 2
            C_BARRIER gp3, gp2
            C_SEM_WAIT gp1, gp1
            C_HOST_PUSH gp2
        """
    )
    assert golden.run(platform(3), firmware).host_words == [(1, 1), (2, 2)]


@pytest.mark.parametrize(
    "format", ["mxfp8_e4m3", "mxfp6_e2m3", "mxfp4_e2m1", "mxint4", "plena_e4m3", "bf16", "fp32"]
)
def test_the_codec_is_the_machine_s(format):
    """Inputs and outputs go through it: bytes and values must be those of the machine."""
    convert = pytest.importorskip("npuvp._core").convert
    codec = GoldenCodec()
    rng = np.random.default_rng(3)
    rows = (rng.normal(size=(5, 44)) * 2.0 ** rng.integers(-20, 20, (5, 1))).astype(np.float32)
    rows[0, :3] = (0.0, -0.0, np.inf)
    ours, theirs = codec.encode_rows(rows, format, 16), convert.encode_rows(rows, format, 16)
    for a, b in zip(ours, theirs, strict=True):
        assert a.tobytes() == b.tobytes()
    assert codec.element_bytes(format, 44) == convert.element_bytes(format, 44)
    one = codec.decode_rows(*ours, format, 16, 5, 44)
    other = convert.decode_rows(*theirs, format, 16, 5, 44)
    assert one.tobytes() == other.tobytes()


def test_the_page_s_listing_runs():
    text = (ROOT / "docs/golden.md").read_text()
    (listing,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {}
    exec(listing, names)
    exact = np.exp(np.array(names["x"]))
    assert np.abs(names["found"].outputs["y"] / exact - 1).max() < 2**-8
