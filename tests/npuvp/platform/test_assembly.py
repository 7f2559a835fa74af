"""Assembly by hand, the memory map, what the simulator is given, and the text for people."""

import inspect
import json
import pickle
from typing import Any

import pytest

import npuvp as vp
from npuvp import components
from npuvp.describe import describe
from npuvp.memory_facts import PresetFacts
from npuvp.memory_presets import MemoryConfigError
from npuvp.parameters import Fault, declaration

IDEAL: dict[str, Any] = {"backend": "ideal", "size": "1GiB", "bandwidth": "100GB/s"}


class Timer(vp.Target):
    size = 8192

    def read(self, offset: int, length: int) -> bytes:
        return bytes(length)

    def write(self, offset: int, data: bytes) -> None:
        raise AssertionError


def example() -> vp.Platform:
    p = vp.Platform("my_npu", clock="1GHz")
    hbm = p.hbm("hbm", **IDEAL)
    mesh = p.mesh("noc", columns=3, rows=3, flit_bytes=64)
    for i in range(4):
        mesh.attach(p.core(f"core{i}", vlen=512, mlen=256, blen=16), at=(i % 2, i // 2))
    mesh.attach(hbm, at=[(2, 0), (2, 1)])
    mesh.attach(p.add(Timer("timer")), at=(1, 2))
    p.check()
    return p


def test_the_example_of_the_documentation() -> None:
    p = example()
    description = p.description()
    assert [core["nodes"] for core in description["cores"]] == [
        [[0, 0]],
        [[1, 0]],
        [[0, 1]],
        [[1, 1]],
    ]
    assert description["hbms"][0]["nodes"] == [[2, 0], [2, 1]]
    assert description["targets"] == [
        {
            "name": "timer",
            "base": (2 << 40) + 0x20000,
            "size": 8192,
            "latency": 10_000,
            "nodes": [[1, 2]],
        }
    ]
    assert p.noc is not None and p.noc.columns == 3
    assert p.cores[3].mlen == 256
    assert p.memories[0].size == 1 << 30
    assert [target.name for target in p.targets] == ["timer"]


def test_the_description_is_plain_data_without_open_questions() -> None:
    description = example().description()
    assert json.loads(json.dumps(description)) == description
    names = list(declaration().components["core"].parameters)
    for core in description["cores"]:
        assert list(core["parameters"]) == names
        for name in ("mlen", "blen", "hlen", "matrix_sram_bytes", "prefetch_m_rows"):
            assert core["parameters"][name] > 0
    assert list(description["platform"]) == list(declaration().components["platform"].parameters)
    assert list(description["host"]["parameters"]) == ["fifo_words", "semaphores"]


def test_memory_map() -> None:
    p = vp.Platform("test")
    p.core("core0", vlen=512, fp_sram_words=100)
    p.hbm("hbm", **IDEAL)
    p.hbm("more", **{**IDEAL, "size": 4160})
    p.hbm("last", **IDEAL)
    p.add(Timer("first"))
    p.add(Timer("fixed", base=3 << 40))
    p.add(Timer("second"))
    core = 1 << 40
    slot = 1 << 29
    peripherals = 2 << 40
    assert [(r.name, r.space, r.base, r.size) for r in p.memory_map()] == [
        ("hbm", "memory", 0, 1 << 30),
        ("more", "memory", 1 << 30, 4160),
        ("last", "memory", (1 << 30) + 8192, 1 << 30),
        ("core0.csr", "csr", core, 4096),
        ("core0.vector", "vector", core + slot, 8 << 20),
        ("core0.matrix", "matrix", core + 2 * slot, 2 * 512 * 512 * 2),
        ("core0.fp", "fp", core + 3 * slot, 400),
        ("core0.int", "int", core + 4 * slot, 8192),
        ("host", "peripheral", peripherals, 65536),
        ("semaphores", "peripheral", peripherals + 65536, 65536),
        ("first", "peripheral", peripherals + 2 * 65536, 8192),
        ("second", "peripheral", peripherals + 3 * 65536, 8192),
        ("fixed", "peripheral", 3 << 40, 8192),
    ]


@pytest.mark.parametrize(("cores", "size"), [(1, 65536), (16, 65536), (17, 2 * 65536)])
def test_the_host_interface_has_a_page_per_core(cores: int, size: int) -> None:
    p = vp.Platform("test")
    for i in range(cores):
        p.core(f"core{i}", vlen=64)
    p.hbm("hbm", **IDEAL)
    regions = {region.name: region for region in p.memory_map()}
    assert regions["host"].size == size
    assert regions["semaphores"].base == regions["host"].end


@pytest.mark.parametrize(
    ("clock", "period"), [("1GHz", 1000), ("1.5GHz", 667), ("1.3GHz", 769), ("10GHz", 100)]
)
def test_the_period_is_rounded_to_a_picosecond(clock: str, period: int) -> None:
    p = vp.Platform("test", clock=clock)
    p.core("core0")
    p.hbm("hbm", **IDEAL)
    assert p.description()["period_ps"] == period
    assert f"(period {period} ps)" in describe(p)


def test_a_parameter_reads_as_an_attribute() -> None:
    p = vp.Platform("test")
    core = p.core("core0", vlen=64, quantum="2us")
    assert core.quantum == 2_000_000
    assert core.parameters["hlen"] == 64
    with pytest.raises(AttributeError, match="Core has no parameter or attribute 'vlne'"):
        _ = core.vlne
    with pytest.raises(vp.PlatformError, match=r"core1\.vlen = 65: must be a power of two"):
        _ = p.core("core1", vlen=65).vlen


def test_the_host_interface_can_be_moved() -> None:
    p = example()
    assert p.noc is not None
    p.noc.attach(p.host(fifo_words=4), at=(2, 2))
    p.host(semaphores=8)
    host = p.description()["host"]
    assert host["nodes"] == [[2, 2]]
    assert host["parameters"] == {"fifo_words": 4, "semaphores": 8}


def test_targets_in_python_fit_in_no_file() -> None:
    with pytest.raises(vp.PlatformError, match="timer: a target written in Python fits in no file"):
        example().to_yaml()


def test_numpy_integers_are_integers() -> None:
    numpy = pytest.importorskip("numpy")
    p = vp.Platform("test")
    assert p.core("core0", vlen=numpy.int64(128)).vlen == 128


METHODS = [
    (vp.Platform.core, "core"),
    (vp.Platform.hbm, "hbm"),
    (vp.Platform.mesh, "noc"),
    (vp.Platform.host, "host"),
    (vp.Platform.__init__, "platform"),
]


@pytest.mark.parametrize(("method", "component"), METHODS)
def test_help_shows_every_parameter_with_default_and_range(method: Any, component: str) -> None:
    signature = inspect.signature(method)
    assert method.__doc__ is not None
    for name, parameter in declaration().components[component].parameters.items():
        assert name in signature.parameters
        if (component, name) == ("platform", "name"):
            continue
        assert signature.parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert f"    {name}" in method.__doc__
        assert parameter.description.rstrip(".") in method.__doc__
        if parameter.type not in ("string", "table", "bool"):
            assert parameter.allowed[1:] in method.__doc__
    if component == "core":
        assert signature.parameters["vlen"].default == 2048
        assert signature.parameters["quantum"].default == "1us"


def test_describe_draws_a_bus() -> None:
    p = vp.Platform("test")
    p.core("core0", vlen=512)
    p.hbm("hbm", **IDEAL)
    assert (
        describe(p)
        == """\
test: clock 1GHz (period 1000 ps), 7nm

Topology
  core0 --+ bus +-- hbm
  host  --|     |

Memory map
  hbm           0x00000000000 .. 0x0003fffffff  1GiB
  core0.csr     0x10000000000 .. 0x10000000fff  4KiB
  core0.vector  0x10020000000 .. 0x100207fffff  8MiB
  core0.matrix  0x10040000000 .. 0x100400fffff  1MiB
  core0.fp      0x10060000000 .. 0x10060000fff  4KiB
  core0.int     0x10080000000 .. 0x10080001fff  8KiB
  host          0x20000000000 .. 0x2000000ffff  64KiB
  semaphores    0x20000010000 .. 0x2000001ffff  64KiB

Peak figures
  core0 (scoreboard issue)
    vector unit   512 lanes: 512 Gop/s, 0.3811 W at full activity (estimate)
    matrix unit   1 x 4 sub-arrays of 128 x 128 = 65536 MACs: 65.54 TMAC/s
    DMA engine    16 ports of 256 bit: 512 GB/s
    Vector SRAM   8MiB, 8192 rows of 512 bf16
    Matrix SRAM   1MiB, 2 tiles of 512 x 512 bf16
  hbm (ideal backend)
    1GiB, 100 GB/s, latency 100ns
"""
    )


def test_describe_draws_a_mesh_and_folds_equal_cores() -> None:
    text = describe(example())
    assert (
        """\
  noc: 3 x 3 nodes, links of 64 B per cycle; host interface at node [0, 0]
  [ core0 ]---[ core1 ]---[ hbm:0 ]
      |           |           |
  [ core2 ]---[ core3 ]---[ hbm:1 ]
      |           |           |
  [   .   ]---[ timer ]---[   .   ]
"""
        in text
    )
    assert "  core1..core3: as core0, at steps of 0x100000000\n" in text
    assert "core1.csr" not in text
    assert "  core0..core3 (scoreboard issue)\n" in text
    assert "    all 4         2.048 Top/s, 16.38 TMAC/s\n" in text


@pytest.fixture
def presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """One known preset: two stacks, each of 8 channels, 16 GiB and 400 GB/s."""

    def facts(name: str) -> PresetFacts:
        if name != "HBM2E":
            fault = Fault("presets", "preset", name, f"no preset {name}; there are HBM2E")
            raise MemoryConfigError("preset", [fault])
        return PresetFacts(2, 8, 16 << 30, 400 * 10**9, {"latency": 40_000})

    monkeypatch.setattr(components, "preset_facts", facts)


def test_what_a_preset_says_stands_in_for_what_is_not_given(presets: None) -> None:
    p = vp.Platform("test")
    p.core("core0")
    p.hbm("hbm", preset="HBM2E")
    p.hbm("half", preset="HBM2E", stacks=1, channels=4, size="1GiB")
    first, second = (hbm["parameters"] for hbm in p.description()["hbms"])
    assert (first["stacks"], second["stacks"]) == (2, 1)
    assert (first["channels"], first["size"], first["bandwidth"]) == (8, 32 << 30, 800 * 10**9)
    assert (second["channels"], second["size"], second["bandwidth"]) == (4, 1 << 30, 200 * 10**9)
    assert second["base"] == 32 << 30
    assert "    2 x HBM2E, 32GiB, 800 GB/s\n" in describe(p)


def test_an_unknown_preset_and_more_nodes_than_channels(presets: None) -> None:
    p = vp.Platform("test")
    mesh = p.mesh("noc", columns=4, rows=4)
    mesh.attach(p.core("core0"), at=(0, 0))
    nodes = [(x, y) for x in range(1, 4) for y in range(3)]
    mesh.attach(p.hbm("fits", preset="HBM2E", stacks=1), at=nodes[:8])
    mesh.attach(p.hbm("hbm", preset="HBM2E", stacks=1, channels=1), at=[(0, 1), (0, 2)])
    mesh.attach(p.hbm("other", preset="HBM9"), at=(3, 3))
    with pytest.raises(vp.PlatformError) as caught:
        p.check()
    assert [str(fault).split(": ", 1)[1] for fault in caught.value.faults] == [
        "other.preset = 'HBM9': no preset HBM9; there are HBM2E",
        "noc.nodes.hbm = [(0, 1), (0, 2)]: more nodes than the memory has channels, which is 1",
    ]


def test_a_description_shares_nothing_with_the_platform() -> None:
    p = example()
    before = json.dumps(p.description())
    p.description()["cores"][0]["parameters"]["timing"]["mark"]["latency"] = 99
    p.description()["platform"]["clock"] = 3
    assert json.dumps(p.description()) == before


def test_platforms_travel_to_other_processes() -> None:
    p = vp.Platform("test", clock="2GHz")
    p.core("core0", vlen=128)
    p.hbm("hbm", **IDEAL)
    assert pickle.loads(pickle.dumps(p)).description() == p.description()
