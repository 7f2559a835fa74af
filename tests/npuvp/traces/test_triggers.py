"""What is recorded begins and ends with a time, a place in the program, a mark or a trap."""

import shutil

import numpy as np
import pytest
import pywellen

import npuvp as vp
from npuvp.traces.log import read_log
from npuvp.traces.triggers import bound

PROGRAM = """
    .equ MARK_STEP_FIRST, 0
    LI gp1, 0
    LI gp2, 40
again:
    C_MARK step, gp1
    S_ADDI_INT gp3, gp1, 5
inner:
    S_ADD_INT gp4, gp3, gp3
    S_ADDI_INT gp1, gp1, 1
    C_BNE gp1, gp2, again
    {end}
"""


def recorded(tmp_path, start=0, stop=None, end="C_HALT gp0", **more):
    """Times and addresses that a run's waveform and log hold."""
    platform = vp.Platform.load("platform/edge.yaml")
    vcd, log = tmp_path / "w.vcd", tmp_path / "w.log"
    firmware = vp.assemble(PROGRAM.format(end=end))
    try:
        with platform.trace(vcd, log=log, start=start, stop=stop, **more):
            platform.run(firmware)
    except vp.Trap as trap:
        assert "firmware trap" in str(trap)
    wave = {var.full_name: list(var.tv) for var in pywellen.Waveform(str(vcd)).all_vars()}
    entries = read_log(log)
    return wave, [(e.begin // 1000, e.pc) for e in entries]


# Cycle 2 + 4 n begins round n: addresses 2 (mark, no time), 3, 4, 5, 6.
@pytest.mark.parametrize(
    ("start", "stop", "first", "last"),
    [
        (0, None, (0, 0), (162, 7)),
        ("10ns", "12ns", (10, 2), (12, 5)),
        ("step=3", "step=4", (14, 2), (18, 3)),
        ("label=inner", "pc=0x6", (3, 4), (5, 6)),
        ("step=3-2ns", None, (12, 5), (162, 7)),
        ("pc=7", None, (162, 7), (162, 7)),
        ("step=39", "step=0", (158, 2), (162, 7)),  # the end never comes after the begin
    ],
)
def test_begin_and_end(tmp_path, start, stop, first, last):
    wave, log = recorded(tmp_path, start, stop)
    assert (log[0], log[-1]) == (first, last)
    times = [at for at, _ in wave["core0.pc"]]
    assert times[0] // 1000 == first[0] and times[-1] // 1000 <= last[0]
    whole = recorded(tmp_path)[1]
    assert log == [entry for entry in whole if first[0] <= entry[0] <= last[0]]


@pytest.mark.parametrize(("back", "rounds"), [("-20ns", 5), ("-6ns", 1.5), ("", 0)])
def test_what_came_before_a_trap(tmp_path, back, rounds):
    wave, log = recorded(tmp_path, f"trap{back}", end="C_TRAP gp2")
    assert log == [entry for entry in recorded(tmp_path, end="C_TRAP gp2")[1] if entry in log]
    if rounds:
        trapped = 162
        assert log[0][0] == trapped - 4 * rounds
        assert [value for _, value in wave["core0.trap"]][-1] in (1, "1")


def test_an_event_that_never_comes_is_said(tmp_path):
    platform = vp.Platform.load("platform/edge.yaml")
    firmware = vp.assemble(PROGRAM.format(end="C_HALT gp0"))
    with platform.trace(tmp_path / "w.vcd", start="trap-1us"):
        result = platform.run(firmware)
    assert result.notes == [
        "the waveform is empty: 'trap-1us', where it was to begin, did not come"
    ]
    assert "the run ended before this window began" in (tmp_path / "w.vcd").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label=nix", r"no label 'nix' \(labels: again, inner\)"),
        ("stepp=3", "allowed: a time such as 1us, pc=ADDRESS, label=NAME, layer=N"),
        ("step=x", "'x' is no number"),
        ("pc=-1", "stretch of time of the start '1'"),
        ("1 fortnight", "a number with ps, ns"),
    ],
)
def test_bad_bounds(text, message):
    firmware = vp.assemble(PROGRAM.format(end="C_HALT gp0"))
    with pytest.raises(ValueError, match=message):
        bound(text, "start", firmware=firmware, cores=["core0"], sources={"core0": 0})


def test_only_a_start_looks_back(tmp_path):
    with pytest.raises(ValueError, match="only a start may look back"):
        recorded(tmp_path, stop="trap-1us")


def test_limit_and_forecast(tmp_path):
    platform = vp.Platform.load("platform/edge.yaml")
    firmware = vp.assemble(PROGRAM.replace("40", "4000").format(end="C_HALT gp0"))
    sizes = []
    for limit in (0, 100_000):
        with platform.trace(tmp_path / "w.vcd", limit_bytes=limit):
            result = platform.run(firmware)
        sizes.append((tmp_path / "w.vcd").stat().st_size)
    assert sizes[0] > 400_000 and 99_000 < sizes[1] <= 100_000
    (note,) = result.notes
    forecast = float(note.split("about ")[1].split(" MB")[0].replace(",", ""))
    assert forecast == round(sizes[0] / 1e6)
    assert pywellen.Waveform(str(tmp_path / "w.vcd")).all_vars()


def test_fst(tmp_path):
    if shutil.which("vcd2fst") is None:
        pytest.skip("vcd2fst is not installed")
    platform = vp.Platform.load("platform/edge.yaml")
    firmware = vp.assemble(PROGRAM.format(end="C_HALT gp0"))
    for name in ("w.vcd", "w.fst"):
        with platform.trace(tmp_path / name):
            result = platform.run(firmware)
    assert result.trace_files["vcd"] == tmp_path / "w.fst"
    assert (tmp_path / "w.vcd").exists() is False  # what it was made from is gone

    def contents(path):
        return {var.full_name: list(var.tv) for var in pywellen.Waveform(str(path)).all_vars()}

    with platform.trace(tmp_path / "v.vcd"):
        platform.run(firmware)
    assert contents(tmp_path / "w.fst")["core0.pc"] == contents(tmp_path / "v.vcd")["core0.pc"]


def test_marks_have_names(tmp_path):
    wave, _ = recorded(tmp_path)
    words = [value for _, value in wave["core0.step_name"]]
    assert words == ["-", "first", *map(str, range(1, 40))]
    assert np.array([int(v) for _, v in wave["core0.step"][1:]]).tolist() == list(range(40))
