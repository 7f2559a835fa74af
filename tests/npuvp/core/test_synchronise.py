"""Semaphores, barriers, copies and multicast between cores."""

import numpy as np
import pytest
from core_machine import bf16, floats, platform, run

import npuvp as vp

BASE = 1 << 40
WINDOW = 4 << 30
VECTOR, INT = WINDOW // 8, 4 * WINDOW // 8


def both(core0: str, core1: str) -> str:
    return f"    .core 0\n{core0}\n    .core 1\n{core1}\n"


def stall(cycles: int) -> str:
    """A loop of that many cycles, from 4 on."""
    return f"    C_LOOP_START gp15, {cycles // 2}\n    NOP\n    C_LOOP_END gp15\n"


@pytest.mark.parametrize("mode", ["functional", "timing"])
@pytest.mark.parametrize("quantum", ["1ns", "7ns", "10us"])
def test_a_wait_ends_two_cycles_after_the_signal(mode: str, quantum: str) -> None:
    # core 0 signals in cycle 102; the request and the answer take a cycle each.
    r = run(
        both(
            "    LI gp1, 3\n" + stall(100) + "    C_SEM_SIGNAL gp1, gp1\n",
            """
                LI gp1, 3
                LI gp2, 2
                C_SEM_WAIT gp1, gp2
                C_CSRR gp3, cycle_lo
                C_HOST_PUSH gp3
            """,
        ),
        on=platform(2, quantum=quantum),
        mode=mode,
    )
    assert [(core, word) for _, core, word in r.result.host_words] == [(1, 104)]


def test_waiters_are_served_in_the_order_of_their_arrival() -> None:
    waiter = """
        C_SEM_WAIT gp0, gp1
        C_CSRR gp3, core_id
        C_HOST_PUSH gp3
    """
    r = run(
        "    .core 0\n    LI gp1, 1\n"
        + stall(40)
        + waiter
        + "    .core 1\n    LI gp1, 3\n"  # wants more, came first
        + waiter
        + "    .core 2\n    LI gp1, 2\n"
        + stall(100)
        + "    C_SEM_SIGNAL gp0, gp1\n"
        + stall(100)
        + "    C_SEM_SIGNAL gp0, gp1\n",
        on=platform(3),
    )
    assert [word for _, _, word in r.result.host_words] == [1, 0]


@pytest.mark.parametrize("quantum", ["1ns", "10us"])
def test_a_barrier_lets_all_go_when_the_last_arrives(quantum: str) -> None:
    text = ""
    for core in range(3):
        text += f"    .core {core}\n    LI gp1, 3\n    LI gp2, 5\n" + stall(20 + 20 * core)
        text += """
            C_BARRIER gp2, gp1
            C_CSRR gp3, cycle_lo
            C_HOST_PUSH gp3
            C_BARRIER gp2, gp1
        """
    r = run(text, on=platform(3, quantum=quantum))
    assert [word for _, _, word in r.result.host_words] == [3 + 60 + 2] * 3


def test_results_are_there_before_a_signal() -> None:
    # V_RED_SUM issues in cycle 1 and takes 8 cycles: the signal issues in cycle 9.
    r = run(
        both(
            "    LI gp1, 1\n    V_RED_SUM f1, gp0\n    C_SEM_SIGNAL gp0, gp1\n",
            "    LI gp1, 1\n    C_SEM_WAIT gp0, gp1\n    C_CSRR gp3, cycle_lo\n    C_HOST_PUSH gp3\n",
        ),
        on=platform(2),
    )
    assert [word for _, _, word in r.result.host_words] == [11]


def test_a_deadlock_names_semaphore_and_value() -> None:
    with pytest.raises(vp.DeadlockError) as caught:
        run(
            both(
                "    LI gp1, 7\n    LI gp2, 5\n    LI gp3, 2\n"
                "    C_SEM_SIGNAL gp1, gp3\n    C_SEM_WAIT gp1, gp2\n",
                "    LI gp1, 9\n    LI gp2, 2\n    C_BARRIER gp1, gp2\n",
            ),
            on=platform(2),
        )
    message = str(caught.value)
    assert "core0 at pc 0x0004 waits for semaphore 7 (needs 5, has 2)" in message
    assert "core1 at pc 0x0002 waits for barrier 9 (1 of 2 cores have arrived)" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("LI gp1, 64\nC_SEM_SIGNAL gp1, gp0", ("no such semaphore", "64, allowed: 0..63")),
        ("LI gp1, 64\nC_SEM_WAIT gp1, gp0", ("no such semaphore", "64, allowed: 0..63")),
        ("LI gp1, 64\nC_BARRIER gp1, gp1", ("no such barrier", "64, allowed: 0..63")),
        ("C_BARRIER gp0, gp0", ("barrier of an impossible number of cores", "0, allowed: 1..1")),
        (
            "LI gp1, 2\nC_BARRIER gp0, gp1",
            ("barrier of an impossible number of cores", "2, allowed: 1..1"),
        ),
        (
            "S_SUB_INT gp1, gp0, gp1\nLI gp2, 1\nS_SUB_INT gp1, gp0, gp2\n"
            "C_SEM_SIGNAL gp0, gp1\nC_SEM_SIGNAL gp0, gp2\nC_SEM_WAIT gp2, gp1",
            ("semaphore overflow", "semaphore 0 + 1 is above 4294967295"),
        ),
    ],
)
def test_traps(text: str, message: tuple[str, str]) -> None:
    with pytest.raises(vp.Trap) as caught:
        run(text)
    for part in message:
        assert part in str(caught.value)


def test_cores_must_agree_on_a_barrier() -> None:
    with pytest.raises(vp.Trap) as caught:
        run(
            "    .core 0\n    LI gp1, 2\n    C_BARRIER gp0, gp1\n"
            "    .core 1\n    LI gp1, 3\n    NOP\n    C_BARRIER gp0, gp1\n"
            "    .core 2\n    NOP\n",
            on=platform(3),
        )
    assert caught.value.core == "core1" and caught.value.pc == 2
    assert "cores disagree on the size of a barrier" in str(caught.value)
    assert "barrier 0: 3 here, 2 where others wait" in str(caught.value)


# Data between cores

SET_COPY = """
    LI gp2, 32
    C_CSRW dma_len, gp2
    LI gp2, 2
    C_CSRW dma_rows, gp2
    LI gp2, 64
    C_CSRW dma_pitch, gp2
"""


@pytest.mark.parametrize("mode", ["functional", "timing"])
def test_copy_between_cores_and_back_to_memory(mode: str) -> None:
    data = np.arange(64, dtype=np.uint32) * 0x01010101
    r = run(
        SET_COPY
        + f"""
        LIA a1, {BASE + WINDOW + INT}, gp5, gp6         ; INT SRAM of core 1
        LIA a2, {BASE + INT}, gp5, gp6                  ; and of core 0
        LIA a3, 0x1000, gp5
        LI gp1, 128
        LI gp3, 8
        H_COPY a1, gp3, a2, gp1, 0              ; 128 bytes on, to 8 bytes on
        C_FENCE 1
        H_COPY a3, gp0, a1, gp3, 1
        C_FENCE 2
        .core 1
        NOP
    """,
        on=platform(2),
        mode=mode,
        memories={("core0.int", 0): data},
    )
    expected = np.zeros(64, np.uint32)
    expected[2:10] = data[32:40]
    expected[18:26] = data[48:56]
    np.testing.assert_array_equal(r.words("core1.int", 0, 64), expected)
    np.testing.assert_array_equal(r.bytes("hbm", 0x1000, 32).view(np.uint32), expected[2:10])
    np.testing.assert_array_equal(r.bytes("hbm", 0x1040, 32).view(np.uint32), expected[18:26])


def test_a_copy_waits_for_rows_of_its_own_core_and_they_for_it() -> None:
    x = bf16(np.arange(16) + 1)
    r = run(
        f"""
        LI gp1, 32
        C_CSRW dma_len, gp1
        LIA a1, {BASE + VECTOR}, gp5, gp6
        LI gp1, 16
        V_ADD_VV gp1, gp0, gp0                  ; row 1 = 2 x
        LI gp2, 32
        LI gp3, 64
        H_COPY a1, gp3, a1, gp2, 0              ; row 2 = row 1
        LI gp3, 32
        V_ADD_VV gp1, gp3, gp0                  ; row 1 = row 2 + x, after the copy
        """,
        memories={("core0.vector", 0): x},
    )
    np.testing.assert_array_equal(r.vector(32, 16), 2 * floats(x))
    np.testing.assert_array_equal(r.vector(16, 16), 3 * floats(x))


def test_multicast() -> None:
    data = bf16(np.arange(64))
    r = run(
        """
        .core 0
        LI gp1, 16              ; from row 1
        LI gp2, 64              ; to row 4
        LI gp3, 5               ; of cores 0 and 2
        LI gp4, 2
        H_MCAST gp1, gp2, gp3, gp4, 0
        C_FENCE 1
        .core 1
        NOP
        .core 2
        NOP
        """,
        on=platform(3),
        memories={("core0.vector", 0): data},
    )
    for core in (0, 2):
        np.testing.assert_array_equal(r.vector(64, 32, core), np.arange(16, 48))
        np.testing.assert_array_equal(r.vector(96, 16, core), 0)
    np.testing.assert_array_equal(r.vector(64, 32, 1), 0)
    assert (
        r.result.stats["cores"]["core0"]["dma"]["bytes_written"] == 64
    )  # they leave the core once


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "LI gp1, 2\nLI gp2, 1\nH_MCAST gp0, gp0, gp1, gp2, 0",
            ("multicast to a core that does not exist", "core 1, the platform has cores 0..0"),
        ),
        (
            "LI gp1, 1\nLI gp2, 1008\nLI gp3, 2\nH_MCAST gp0, gp2, gp1, gp3, 0",
            ("access outside Vector SRAM", "rows 63..64, the SRAM of core 0 has rows 0..63"),
        ),
        ("H_COPY a0, gp0, a0, gp0, 0", ("copy of rows without a length", "dma_len = 0")),
        (
            "LI gp1, 8\nC_CSRW dma_len, gp1\nLI gp1, 4\nC_CSRW dma_pitch, gp1\n"
            "H_COPY a0, gp0, a0, gp0, 0",
            ("copied rows overlap", "dma_pitch = 4, a row has 8 bytes"),
        ),
        (
            "LI gp1, 0x10000\nC_CSRW dma_len, gp1\nC_CSRW dma_rows, gp1\n"
            "H_COPY a0, gp0, a0, gp0, 0",
            ("copy of too many bytes", "65536 rows of 65536 bytes, allowed: 1073741824 in all"),
        ),
        (
            f"LI gp1, 4\nC_CSRW dma_len, gp1\nLIA a1, {BASE + VECTOR + 2048}, gp5, gp6\n"
            "H_COPY a0, gp0, a1, gp0, 0",
            ("DMA beyond every memory and peripheral",),
        ),
    ],
)
def test_traps_of_transfers(text: str, message: tuple[str, ...]) -> None:
    with pytest.raises(vp.Trap) as caught:
        run(text)
    for part in message:
        assert part in str(caught.value)


@pytest.mark.parametrize("quantum", ["1ns", "1us"])
def test_producer_and_consumer(quantum: str) -> None:
    """Core 0 makes rows, core 1 sums them: through one row of core 1, with two semaphores."""
    r = run(
        both(
            """
            LI gp1, 32
            C_CSRW dma_len, gp1
            """
            + f"    LIA a1, {BASE + WINDOW + VECTOR}, gp5, gp6\n"
            + f"    LIA a2, {BASE + VECTOR}, gp5, gp6\n"
            + """
            LI gp1, 1
            LI gp2, 16
            C_LOOP_START gp3, 5
                V_ADD_VV gp0, gp0, gp2          ; row 0 += row 1
                C_SEM_WAIT gp0, gp1             ; free
                H_COPY a1, gp0, a2, gp0, 0
                C_FENCE 1
                C_SEM_SIGNAL gp1, gp1           ; full
            C_LOOP_END gp3
            """,
            """
            LI gp1, 1
            LI gp2, 16
            C_SEM_SIGNAL gp0, gp1
            C_LOOP_START gp3, 5
                C_SEM_WAIT gp1, gp1
                V_ADD_VV gp2, gp2, gp0
                C_SEM_SIGNAL gp0, gp1
            C_LOOP_END gp3
            """,
        ),
        on=platform(2, quantum=quantum),
        memories={("core0.vector", 32): bf16(np.ones(16))},
    )
    np.testing.assert_array_equal(r.vector(16, 16, core=1), 1 + 2 + 3 + 4 + 5)
    assert r.cycles == 60
