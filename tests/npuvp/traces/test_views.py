import pytest

from npuvp.traces import TraceOptions
from npuvp.traces.power_plot import plot_power, read_power
from npuvp.traces.vcd_view import read_signals, write_view


@pytest.fixture
def files(machine, tmp_path):
    options = TraceOptions(
        vcd=tmp_path / "a.vcd", signals=["*"], power=tmp_path / "a.csv", power_window="20ns"
    )
    machine.open(options)
    machine.run()
    return tmp_path


def traces_of(save_file):
    """{group: [signal]} of a GTKWave save file."""
    groups, title = {}, ""
    for line in save_file.read_text().splitlines():
        if line.startswith("-") and len(line) > 1:
            title = line[1:]
        elif line.startswith("+"):
            groups.setdefault(title, []).append(line.split()[-1].split("[")[0])
    return groups


def test_the_view_groups_signals_that_the_waveform_holds(files):
    groups = traces_of(write_view(files / "a.vcd", files / "a.gtkw"))
    assert list(groups) == [
        "core0",
        "host",
        "hbm",
        "core0 power",
        "hbm power",
        "host power",
        "power",
    ]
    known = {signal.path for signal in read_signals(files / "a.vcd")}
    shown = [name for group in groups.values() for name in group]
    assert len(shown) == len(set(shown)) > 25
    assert set(shown) <= known
    assert {"core0.mnemonic", "core0.phase_name", "core0.vector.busy"} <= set(groups["core0"])
    assert "core0.phase" not in groups["core0"]
    assert groups["power"] == ["power.total"]


def test_one_view_alone(files):
    groups = traces_of(write_view(files / "a.vcd", files / "a.gtkw", ["memory"]))
    assert list(groups) == ["hbm"]
    assert groups["hbm"][0] == "hbm.ch0.busy"


def test_the_view_opens_on_the_span_asked_for(files):
    text = write_view(files / "a.vcd", files / "a.gtkw", start="40ns", span="46ns").read_text()
    # 46 units of 1 ns in 1150 pixels are 8 = 2^3 in 200
    assert "\n*-3.000000 " in text
    assert "\n[timestart] 40\n" in text
    whole = write_view(files / "a.vcd", files / "a.gtkw", span="1s").read_text()
    assert whole == write_view(files / "a.vcd", files / "a.gtkw", span="120ns").read_text()
    with pytest.raises(ValueError, match="span of the view: must be more than 0"):
        write_view(files / "a.vcd", files / "a.gtkw", span=0)


def test_views_that_cannot_be(files):
    with pytest.raises(ValueError, match="wave view 'cpu': there are core, memory, noc, power"):
        write_view(files / "a.vcd", files / "a.gtkw", ["cpu"])
    with pytest.raises(ValueError, match="holds no signal for the views noc"):
        write_view(files / "a.vcd", files / "a.gtkw", ["noc"])
    assert not (files / "a.gtkw").exists()
    (files / "b.vcd").write_text("$scope module a $end\n")
    with pytest.raises(ValueError, match="its declarations do not end"):
        read_signals(files / "b.vcd")


def test_the_picture_shows_the_trace_and_is_reproducible(files):
    trace = read_power(files / "a.csv")
    assert trace.components == (
        "core0",
        "core0.scalar",
        "core0.vector",
        "core0.dma",
        "hbm",
        "host",
    )
    assert trace.window_ns == 20
    assert trace.energy_joules == pytest.approx(3_064_500_000e-15, rel=1e-9)
    first = plot_power(files / "a.csv", files / "a.png").read_bytes()
    assert first[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(first) > 10_000
    assert plot_power(files / "a.csv", files / "b.png").read_bytes() == first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no power trace"),
        ("time_ns,a,total\n", "no rows"),
        ("time_ns,a,total\n0,1,x\n", r":2: not all of"),
        ("time_ns,a,total\n0,1,1\n1,2\n", r":3: 2 values in 3 columns"),
        ("time_ns,a,total\n0,1,1\n", "length of a window"),
    ],
)
def test_files_that_are_no_power_trace(tmp_path, text, message):
    file = tmp_path / "x.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        plot_power(file, tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()
