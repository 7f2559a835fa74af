import pytest
from npuvp._core import trace as t

from npuvp.traces import SelectionError, TraceOptions
from npuvp.traces.log import LogEntry, first_divergence, read_log


def logged(machine, path, **options):
    tracing = machine.open(TraceOptions(log=path, **options))
    machine.run()
    return tracing


def test_text_log(machine, tmp_path):
    tracing = logged(machine, tmp_path / "a.log")
    assert (tmp_path / "a.log").read_text().splitlines()[:5] == [
        "# issue_ps completion_ps core pc word instruction",
        "# 0 core0 phase argmax",
        "0 20000 core0 0x0000 0x00000007 V_EXP_V",
        "1000 2000 core0 0x0001 0x00000009 S_ADD_INT",
        "# 40000 core0 phase softmax",
    ]
    assert tracing.log.records == 9
    assert len(read_log(tmp_path / "a.log")) == 6


def test_text_and_binary_hold_the_same(make_machine, tmp_path):
    for name in ("a.log", "a.bin"):
        logged(make_machine(), tmp_path / name)
    text, binary = read_log(tmp_path / "a.log"), read_log(tmp_path / "a.bin")
    assert text == binary
    assert text[3] == LogEntry(41_000, 42_000, "core0", 5, 9, "S_ADD_INT")


def write_results(path, value, binary):
    hub = t.Hub()
    core = hub.add_source("core0", "core")
    other = hub.add_source("core1", "core")
    session = t.Session(hub)
    names = t.Names(["ADD"], [], [[]] * 6)
    listing = {core: ["add gp4, gp5, gp6", "add gp1, gp2, gp3"]}
    session.add_log(str(path), binary, names, listing, [core, other])
    # the other core reports first, and what it does stands behind in every instant
    hub.emit(t.Kind.instruction, other, 0, 1000, 1, 0, 3)
    hub.emit(t.Kind.instruction, core, 0, 1000, 0, 0, 1)
    hub.emit(t.Kind.result, core, 0, 0, 0, value, 4)
    hub.emit(t.Kind.result, core, 0, 0, 0, 0x3F800000, 1 << 32 | 1)
    hub.emit(t.Kind.instruction, core, 1000, 2000, 1, 0, 2)
    hub.emit(t.Kind.trap, core, 1000, 1000, 1)
    hub.finish(2000)


def test_results_listing_and_order(tmp_path):
    write_results(tmp_path / "a.log", 18, binary=False)
    assert (tmp_path / "a.log").read_text().splitlines()[1:] == [
        "0 1000 core0 0x0000 0x00000001 add gp4, gp5, gp6  -> gp4 = 0x00000012  -> f1 = 0x3f800000",
        "0 1000 core1 0x0001 0x00000003 ADD",
        "1000 2000 core0 0x0001 0x00000002 add gp1, gp2, gp3",
        "# 1000 core0 trap at pc 0x0001",
    ]
    write_results(tmp_path / "a.bin", 18, binary=True)
    for name in ("a.log", "a.bin"):
        assert read_log(tmp_path / name)[0].results == (("gp4", 18), ("f1", 0x3F800000))


@pytest.mark.parametrize("name", ["log", "bin"])
def test_first_divergence(tmp_path, name):
    write_results(tmp_path / f"a.{name}", 18, binary=name == "bin")
    write_results(tmp_path / f"b.{name}", 19, binary=name == "bin")
    a, b = read_log(tmp_path / f"a.{name}"), read_log(tmp_path / f"b.{name}")
    assert first_divergence(a, a, times=True) is None
    found = first_divergence(a, b)
    assert found is not None
    assert (found.core, found.index, found.differs) == ("core0", 0, "results")


def entries(*pcs, core="core0", begin=0):
    return [LogEntry(begin + i, begin + i + 1, core, pc, 7, "NOP") for i, pc in enumerate(pcs)]


def test_divergence_of_addresses_lengths_and_times():
    found = first_divergence(entries(0, 1, 2), entries(0, 1, 3))
    assert (found.index, found.differs) == (2, "pc")
    found = first_divergence(entries(0, 1), entries(0, 1, 3))
    assert (found.index, found.differs, found.first) == (2, "length", None)
    assert first_divergence(entries(0, 1), entries(0, 1, begin=5)) is None
    found = first_divergence(entries(0, 1), entries(0, 1, begin=5), times=True)
    assert (found.index, found.differs) == (0, "time")
    late = entries(0, 1, core="core1", begin=10)
    found = first_divergence(entries(0, 1, 2) + late, entries(0, 1, 3) + late[:1])
    assert found.core == "core0"


def test_a_cut_log_is_read_up_to_there(machine, make_machine, tmp_path):
    logged(machine, tmp_path / "a.log")
    logged(make_machine(), tmp_path / "a.bin")
    for name, cut in {"a.log": 3, "a.bin": 5}.items():
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-cut])
        assert len(read_log(path)) == 5, name


def test_files_that_are_no_log(tmp_path):
    (tmp_path / "a").write_text("# a remark\nhello world\n")
    with pytest.raises(ValueError, match=r"a:2: no line of an instruction log"):
        read_log(tmp_path / "a")
    (tmp_path / "b").write_bytes(b"NPUVLOG1\x05\x00\x00\x00hello")
    with pytest.raises(ValueError, match="header of the instruction log is broken"):
        read_log(tmp_path / "b")


def test_choice_of_cores(machine, tmp_path):
    with pytest.raises(SelectionError, match=r"core pattern 'core1' matches nothing"):
        machine.open(TraceOptions(log=tmp_path / "a.log", cores=["core1"]))
    with pytest.raises(SelectionError, match="there is no instruction log"):
        machine.open(TraceOptions(cores=["core0"]))
    assert list(tmp_path.iterdir()) == []
    logged(machine, tmp_path / "a.log", cores=["core0"], start="40ns", stop="41ns")
    assert [entry.pc for entry in read_log(tmp_path / "a.log")] == [4, 5]
