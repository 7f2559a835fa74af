"""Runs without progress: cores that poll for ever, and what must not be taken for it."""

import pytest

import npuvp as vp
from npuvp.isa import assemble_text

SPIN = """
    .text
    .core 0
    LI gp1, 5
again:
    S_LD_INT gp2, gp0, 0        ; a flag in INT SRAM that nobody sets
    C_BEQ gp2, gp0, again
    C_HALT gp0
    .core 1
    LI gp1, 3
    LI gp2, 1
    C_SEM_WAIT gp1, gp2
    C_HALT gp0
"""


def platform(cores: int = 2, watchdog: str = "5us", **core: object) -> vp.Platform:
    p = vp.Platform("watched", watchdog=watchdog)
    for i in range(cores):
        p.core(f"core{i}", vlen=64, vector_sram_bytes="64KiB", int_sram_words=256, **core)
    p.hbm("hbm", backend="ideal", size="64MiB", bandwidth="1GB/s", latency="10ns")
    return p


def test_a_core_that_polls_for_ever_is_named_with_its_loop() -> None:
    p = platform()
    with pytest.raises(vp.DeadlockError) as caught:
        p.run(assemble_text(SPIN))
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("no core has made progress for 5us (the platform's `watchdog`) at ")
    assert lines[1].startswith("  core0 at pc 0x000") and "runs, but only polls" in lines[1]
    assert lines[2] == (
        "  core1 at pc 0x0002 waits for semaphore 3 (needs 1, has 0)  " + lines[2].split("  ")[-1]
    )
    # Seen no earlier than after one interval, no later than after two and a quantum.
    assert 5e6 <= p.machine.native.end_ps <= 2 * 5e6 + 1e6


def test_polling_by_dma_is_polling() -> None:
    source = """
        .text
        .core 0
        LIA a1, 0, gp1
        LI gp4, 1
    again:
        H_LD_INT gp0, gp0, a1, gp4, 0
        C_FENCE 1
        S_LD_INT gp2, gp0, 0
        C_BEQ gp2, gp0, again
    """
    with pytest.raises(vp.DeadlockError, match=r"core0 .* (only polls|waits for)"):
        platform(1, "20us").run(assemble_text(source))


def test_a_poll_that_ends_is_no_fault() -> None:
    # Core 1 sets the flag in core 0's INT SRAM after 16,000 cycles of work.
    source = """
        .text
        .core 0
    again:
        S_LD_INT gp2, gp0, 0
        C_BEQ gp2, gp0, again
        C_HOST_PUSH gp2
        .core 1
        LI gp1, 2000
        C_LOOP_START gp3, 2000
        V_RED_SUM f1, gp0
        C_LOOP_END gp3
        LI gp5, 42
        S_ST_INT gp5, gp0, 0
        LI gp6, 4
        C_CSRW dma_len, gp6
        LIA a1, CORE1, gp1, gp7
        LIA a2, CORE0, gp1, gp7
        H_COPY a2, gp0, a1, gp0, 0
        C_FENCE 1
    """
    p = platform(watchdog="2us")
    base = {r.name: r.base for r in p.memory_map()}
    defines = {f"CORE{i}": base[f"core{i}.int"] for i in range(2)}
    r = p.run(assemble_text(source, defines=defines))
    assert [word for _, _, word in r.host_words] == [42]
    assert r.time_ps > 5 * 2e6


def test_long_work_is_progress() -> None:
    # One transfer of 128 KiB at 1 GB/s takes 131 us, and a loop of integers runs for 30 us.
    loads = """
        .text
        LIA a1, 0, gp1
        LIA a2, 0x10_0000, gp1
        LI gp6, 0x2_0000
        C_CSRW dma_len, gp6
        H_COPY a2, gp0, a1, gp0, 0
        C_FENCE 1
    """
    r = platform(1, "10us").run(assemble_text(loads))
    assert r.time_ps > 120e6
    counts = """
        .text
        LI gp1, 15000
    again:
        S_ADDI_INT gp2, gp2, 1
        C_BNE gp2, gp1, again
    """
    r = platform(1, "3us").run(assemble_text(counts))
    assert r.time_ps >= 30e6


def test_the_watchdog_can_be_switched_off_and_is_checked() -> None:
    counted = """
        .text
        LI gp1, 400
        C_LOOP_START gp3, 400
    again:
        S_LD_INT gp2, gp0, 0
        C_BNE gp2, gp0, again
        C_LOOP_END gp3
    """
    assert platform(1, "0ps").run(assemble_text(counted)).cycles > 800
    with pytest.raises(vp.PlatformError, match="watchdog"):
        platform(1, "1ns").check()


def test_a_deadlock_is_still_seen_at_once() -> None:
    source = ".text\nLI gp1, 3\nLI gp2, 1\nC_SEM_WAIT gp1, gp2\n"
    p = platform(1, "1ms")
    with pytest.raises(vp.DeadlockError, match=r"nothing can happen any more at 0\.00"):
        p.run(assemble_text(source))
    assert p.machine.native.end_ps < 1e6
