"""Every fault of a platform: its place, key, value and what was allowed, word by word."""

from pathlib import Path

import pytest

import npuvp as vp

SOUND = """\
name: test
core: {vlen: 512}
hbm: {backend: ideal, size: 1GiB, bandwidth: 100GB/s}
"""


class Timer(vp.Target):
    def read(self, offset: int, length: int) -> bytes:
        return bytes(length)

    def write(self, offset: int, data: bytes) -> None:
        raise AssertionError


def faults_of(tmp_path: Path, text: str, **overrides: object) -> list[str]:
    """The faults of a file as lines; the file is called p.yaml, this script script.py."""
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(vp.PlatformError) as caught:
        vp.Platform.load(path, **overrides)  # type: ignore[arg-type]
    lines = [str(fault).replace(str(path), "p.yaml") for fault in caught.value.faults]
    assert str(caught.value).count("\n") == len(lines)
    return lines


def faults_of_call(platform: vp.Platform) -> list[str]:
    with pytest.raises(vp.PlatformError) as caught:
        platform.check()
    for fault in caught.value.faults:
        assert fault.place.startswith("Python call at ")
        assert "test_platform_faults.py:" in fault.place
    return [str(fault).split(": ", 1)[1] for fault in caught.value.faults]


def core(parameters: str) -> str:
    return SOUND.replace("{vlen: 512}", "{" + parameters + "}")


def test_the_text_that_the_other_tests_break_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(SOUND)
    assert vp.Platform.load(path).cores[0].vlen == 512


VALUES = [
    ("vlen: 100", "core.vlen = 100: must be a power of two from 8 to 65536"),
    ("vlen: 4", "core.vlen = 4: must be a power of two from 8 to 65536"),
    ("vlen: 131072", "core.vlen = 131072: must be a power of two from 8 to 65536"),
    ("vlen: -512", "core.vlen = -512: must be a power of two from 8 to 65536"),
    ("vlen: 512.0", "core.vlen = 512.0: must be a power of two from 8 to 65536"),
    ("vlen: '512'", "core.vlen = '512': must be a power of two from 8 to 65536"),
    ("vlen: 12abc", "core.vlen = '12abc': must be a power of two from 8 to 65536"),
    ("vlen: true", "core.vlen = true: must be a power of two from 8 to 65536"),
    ("vlen: ", "core.vlen = nothing: must be a power of two from 8 to 65536"),
    ("vlen: [512]", "core.vlen = [512]: must be a power of two from 8 to 65536"),
    ("vlen: {a: 1}", "core.vlen = {a: 1}: must be a power of two from 8 to 65536"),
    ("dma_ports: 1:30", "core.dma_ports = '1:30': must be an integer from 1 to 256"),
    ("dma_ports: 0", "core.dma_ports = 0: must be an integer from 1 to 256"),
    ("dma_ports: 257", "core.dma_ports = 257: must be an integer from 1 to 256"),
    ("mlen: 4", "core.mlen = 4: must be a power of two from 8 to 65536, or 0 (the same as vlen)"),
    ("issue: fast", "core.issue = 'fast': must be one of blocking, scoreboard"),
    ("check_uninitialised: 1", "core.check_uninitialised = 1: must be true or false"),
    ("bmm_scale: .nan", "core.bmm_scale = nan: must be a number from -1e+30 to 1e+30"),
    ("bmm_scale: a", "core.bmm_scale = 'a': must be a number from -1e+30 to 1e+30"),
    (
        "quantum: 110",
        "core.quantum = 110: has no unit (ps, ns, us, ms, s); must be a time from 1ps to 1s",
    ),
    (
        "quantum: 12abc",
        "core.quantum = '12abc': has the unknown unit 'abc' (known: ps, ns, us, ms, s); "
        "must be a time from 1ps to 1s",
    ),
    ("quantum: 2s", "core.quantum = '2s': must be a time from 1ps to 1s"),
    (
        "quantum: 999ps",
        "core.quantum = '999ps': must be at least a period of the clock, 1000 ps",
    ),
    (
        "vector_sram_bytes: 63",
        "core.vector_sram_bytes = 63: must be a number of bytes from 64B to 64GiB",
    ),
    ("vln: 512", "core.vln = 512: unknown key; did you mean vlen?"),
    (
        "timing: {vector_ad: {latency: 1}}",
        "core.timing.vector_ad: unknown key; did you mean vector_add?",
    ),
    (
        "timing: {vector_add: 2}",
        "core.timing.vector_add = 2: must be a mapping with any of interval, latency, per_element",
    ),
    (
        "timing: 2",
        "core.timing = 2: must be a table of {class: {interval, latency, per_element}}",
    ),
    (
        "timing: {vector_add: {latency: -1}}",
        "core.timing.vector_add.latency = -1: must be an integer from 0 to 1000000 (cycles)",
    ),
    (
        "timing: {vector_add: {latency: 1000001}}",
        "core.timing.vector_add.latency = 1000001: must be an integer from 0 to 1000000 (cycles)",
    ),
    (
        "timing: {vector_add: {latency: 1.5}}",
        "core.timing.vector_add.latency = 1.5: must be an integer from 0 to 1000000 (cycles)",
    ),
    (
        "timing: {vector_add: {latncy: 1}}",
        "core.timing.vector_add.latncy = 1: unknown key; did you mean latency?",
    ),
]


@pytest.mark.parametrize(("parameters", "message"), VALUES)
def test_a_value_that_is_not_allowed(tmp_path: Path, parameters: str, message: str) -> None:
    assert faults_of(tmp_path, core(parameters)) == [f"p.yaml:2: {message}"]


@pytest.mark.parametrize(
    "parameters",
    [
        "vlen: 8, act_block: 8, weight_block: 8, kv_block: 8",
        "vlen: 65536, mlen: 128",
        "vlen: 512, dma_ports: 1",
        "vlen: 512, dma_ports: 256",
        "vlen: 512, quantum: 1000ps",
        "vlen: 512, quantum: 1s",
        "vlen: 512, timing: {vector_add: {latency: 0}}",
        "vlen: 512, timing: {vector_add: {latency: 1000000}}",
        "vlen: 512, bmm_scale: 1",
        "vlen: 512, blen: 512",
        "vlen: 512, mlen: 128, hlen: 128",
        "vlen: 512, vector_sram_bytes: 16KiB",
        "vlen: 512, vector_sram_bytes: 4MiB, prefetch_v_rows: 4096",
        "vlen: 512, prefetch_m_rows: 1024",
    ],
)
def test_the_allowed_side_of_every_boundary(tmp_path: Path, parameters: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(core(parameters))
    vp.Platform.load(path)


CROSS = [
    ("vlen: 512, blen: 1024", "core.blen = 1024: must be at most mlen, which is 512"),
    ("vlen: 512, mlen: 64, blen: 128", "core.blen = 128: must be at most mlen, which is 64"),
    (
        "vlen: 512, mlen: 64, hlen: 128",
        "core.hlen = 128: must be at most vlen and mlen, which are 512 and 64",
    ),
    (
        "vlen: 512, vector_sram_bytes: 16385",
        "core.vector_sram_bytes = 16385: must be a whole number of rows of 1024 bytes "
        "(512 elements of bf16)",
    ),
    (
        "vlen: 512, vector_format: fp32, vector_sram_bytes: 15KiB",
        "core.vector_sram_bytes = '15KiB': must be a whole number of rows of 2048 bytes "
        "(512 elements of fp32)",
    ),
    (
        "vlen: 512, matrix_sram_bytes: 256KiB",
        "core.matrix_sram_bytes = '256KiB': must be a whole number of tiles of 524288 bytes "
        "(512 x 512 elements of bf16)",
    ),
    (
        "vlen: 512, vector_sram_bytes: 15KiB",
        "core0.prefetch_v_rows = 16: must be at most the rows of Vector SRAM, 15 "
        "(15KiB at vlen 512)",
    ),
    (
        "vlen: 512, vector_sram_bytes: 4MiB, prefetch_v_rows: 4097",
        "core.prefetch_v_rows = 4097: must be at most the rows of Vector SRAM, 4096 "
        "(4MiB at vlen 512)",
    ),
    (
        "vlen: 512, prefetch_m_rows: 1025",
        "core.prefetch_m_rows = 1025: must be at most the rows of Matrix SRAM, 1024 "
        "(1MiB at mlen 512)",
    ),
    (
        "vlen: 16, mlen: 32, act_format: mxint4, kv_format: bf16",
        "core0.act_block = 32: must be at most vlen, a row of 16 elements: "
        "blocks do not cross rows",
    ),
    (
        "vlen: 32, mlen: 16, kv_format: bf16",
        "core0.weight_block = 32: must be at most mlen, a row of 16 elements: "
        "blocks do not cross rows",
    ),
    (
        "vlen: 32, mlen: 16, weight_format: bf16, kv_format: mxint8",
        "core0.kv_block = 32: must be at most vlen and mlen, a row of 16 elements: "
        "blocks do not cross rows",
    ),
    (
        "vlen: 512, fp_sram_words: 1, vector_sram_bytes: 16GiB",
        "core.vector_sram_bytes = '16GiB': must hold at most 2^32 elements, which is what an "
        "integer register can address",
    ),
]


@pytest.mark.parametrize(("parameters", "message"), CROSS)
def test_values_that_do_not_go_together(tmp_path: Path, parameters: str, message: str) -> None:
    assert f"p.yaml:2: {message}" in faults_of(tmp_path, core(parameters))


def test_all_faults_come_at_once_and_a_faulty_value_causes_no_second_fault(tmp_path: Path) -> None:
    text = """\
name: test
clock: 20GHz
corre: 1
core:
  vlen: 100
  blen: 256
  vector_sram_bytes: 3
cores:
  core0: {isue: blocking}
hbm:
  backend: perfect
  size: 1GiB
host: 3
"""
    assert faults_of(tmp_path, text) == [
        "p.yaml:3: corre = 1: unknown key; did you mean core?",
        "p.yaml:13: host = 3: must be a mapping of parameters",
        "p.yaml:2: clock = '20GHz': must be a frequency from 1MHz to 10GHz",
        "p.yaml:5: core.vlen = 100: must be a power of two from 8 to 65536",
        "p.yaml:7: core.vector_sram_bytes = 3: must be a number of bytes from 64B to 64GiB",
        "p.yaml:9: cores.core0.isue = 'blocking': unknown key; did you mean issue?",
        "p.yaml:11: hbm.backend = 'perfect': must be one of ideal, builtin, ramulator",
    ]


def test_a_fault_in_what_all_cores_share_is_said_once(tmp_path: Path) -> None:
    assert faults_of(tmp_path, core("vlen: 100") + "cores: 8\n") == [
        "p.yaml:2: core.vlen = 100: must be a power of two from 8 to 65536"
    ]


FILES = [
    ("", ["p.yaml: file: must be a mapping of parameters"]),
    ("- 1", ["p.yaml: file: must be a mapping of parameters"]),
    (
        "name: {",
        ["p.yaml:1: file: is no YAML: expected the node content, but found '<stream end>'"],
    ),
    (
        SOUND + "clock: 1GHz\nclock: 2GHz\n",
        ["p.yaml:5: clock: given twice (first at p.yaml:4)"],
    ),
    (
        SOUND + "cores: 0\n",
        [
            "p.yaml:4: cores = 0: must be a number from 1 to 1024, or a mapping of names to "
            "parameters"
        ],
    ),
    (
        SOUND + "cores: {a: 3}\n",
        ["p.yaml:4: cores.a = 3: must be a mapping of parameters"],
    ),
    (
        SOUND + "cores: {1a: {}}\n",
        ["p.yaml:4: core name = '1a': a name must be a letter or _ and then letters, digits or _"],
    ),
    ("core: {vlen: 512}\n", ["p.yaml: hbm: a platform needs at least one memory"]),
    (
        SOUND.replace("core: {vlen: 512}\n", ""),
        ["p.yaml: cores: a platform needs at least one core"],
    ),
    (
        SOUND.replace("backend: ideal, ", ""),
        [
            "p.yaml:3: hbm.preset = '': the backend builtin needs a preset; without one only the "
            "ideal backend works (with size and bandwidth)"
        ],
    ),
    (
        SOUND.replace("size: 1GiB, bandwidth: 100GB/s", "size: 0"),
        [
            "p.yaml:3: hbm.size = 0: must be given where there is no preset to take it from",
            "p.yaml:3: hbm.bandwidth = 0: must be given where there is no preset to take it from",
        ],
    ),
    (
        SOUND.replace("1GiB", "1000001"),
        ["p.yaml:3: hbm.size = 1000001: must be a multiple of 64 bytes"],
    ),
    (
        SOUND.replace("bandwidth", "latency: -1ns, bandwidth"),
        ["p.yaml:3: hbm.latency = '-1ns': must be a time from 0ps to 1ms"],
    ),
    (
        SOUND.replace("bandwidth: 100GB/s", "bandwidth: 100GB"),
        [
            "p.yaml:3: hbm.bandwidth = '100GB': has the unknown unit 'GB' (known: B/s, kB/s, "
            "MB/s, GB/s, TB/s, KiB/s, MiB/s, GiB/s, TiB/s, PiB/s, EiB/s); must be a bandwidth "
            "from 1MB/s to 1000TB/s, or 0 (the preset's peak)"
        ],
    ),
]


@pytest.mark.parametrize(("text", "messages"), FILES)
def test_a_file_with_something_wrong(tmp_path: Path, text: str, messages: list[str]) -> None:
    assert faults_of(tmp_path, text) == messages


def test_energy_tables(tmp_path: Path) -> None:
    assert faults_of(tmp_path, SOUND + "energy: 3nm\n") == [
        "p.yaml:4: energy = '3nm': energy table '3nm' does not exist; shipped are 7nm"
    ]
    assert faults_of(tmp_path, SOUND + "process: 5nm\n") == [
        "p.yaml:4: process = '5nm': the energy table 7nm is of another process, 7nm"
    ]
    (line,) = faults_of(tmp_path, SOUND, hbm={"energy": "DDR9"})
    assert ": hbm.energy = 'DDR9': " in line
    assert line.endswith("7nm.yaml: no memory 'DDR9'; there are HBM2, HBM2E, HBM3, HBM3E")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        vp.Platform.load(tmp_path / "nowhere.yaml")


OPTIONS = [
    ("core.vlen=100", "core.vlen = 100: must be a power of two from 8 to 65536"),
    ("core0.vlen=100", "core0.vlen = 100: must be a power of two from 8 to 65536"),
    ("core.vln=64", "core.vln = 64: unknown key; did you mean vlen?"),
    ("core.vlen", "option: must be KEY=VALUE, such as core.vlen=512"),
    ("core..vlen=3", "option: must be KEY=VALUE, such as core.vlen=512"),
    (
        "core.vlen=",
        "core.vlen = '': must be KEY=VALUE, such as core.vlen=512",
    ),
    ("core=3", "core = 3: must be a mapping of parameters"),
    ("clok=1GHz", "clok = '1GHz': unknown key; did you mean clock?"),
    (
        "core1.vlen=64",
        "core1 = {vlen: 64}: unknown key; did you mean core?",
    ),
    (
        "core.timing.vector_sum.latency=-1",
        "core.timing.vector_sum.latency = -1: must be an integer from 0 to 1000000 (cycles)",
    ),
]


@pytest.mark.parametrize(("option", "message"), OPTIONS)
def test_a_wrong_option(tmp_path: Path, option: str, message: str) -> None:
    assert faults_of(tmp_path, SOUND, set=[option]) == [f"--set {option}: {message}"]


def test_a_wrong_keyword(tmp_path: Path) -> None:
    (line,) = faults_of(tmp_path, SOUND, core={"vlen": 3})
    assert line.startswith("Python call at ")
    assert "test_platform_faults.py:" in line
    assert line.endswith(": core.vlen = 3: must be a power of two from 8 to 65536")


MEMORY = {"backend": "ideal", "size": "1GiB", "bandwidth": "100GB/s"}


def test_faults_of_calls_name_the_line_of_the_script() -> None:
    p = vp.Platform("test", clock="1 THz")
    p.core("core0", vlen=100, vln=5)  # type: ignore[call-arg]
    p.hbm("hbm", **MEMORY)  # type: ignore[arg-type]
    assert faults_of_call(p) == [
        "clock = '1 THz': has the unknown unit 'THz' (known: Hz, kHz, MHz, GHz); must be a "
        "frequency from 1MHz to 10GHz",
        "core0.vlen = 100: must be a power of two from 8 to 65536",
        "core0.vln = 5: unknown key; did you mean vlen?",
    ]
    with pytest.raises(vp.PlatformError) as caught:
        p.check()
    lines = Path(__file__).read_text().splitlines()
    numbers = [int(fault.place.rsplit(":", 1)[1]) for fault in caught.value.faults]
    assert 'clock="1 THz"' in lines[numbers[0] - 1]
    assert "vlen=100" in lines[numbers[1] - 1]


def sound_platform() -> tuple[vp.Platform, object]:
    p = vp.Platform("test")
    p.core("core0", vlen=512)
    return p, p.hbm("hbm", **MEMORY)  # type: ignore[arg-type]


def test_names_are_unique_and_well_formed() -> None:
    p, _ = sound_platform()
    p.core("core0", vlen=512)
    p.core("core 1", vlen=512)
    p.add(Timer("host"))
    messages = faults_of_call(p)
    assert messages[0] == (
        "core name = 'core 1': a name must be a letter or _ and then letters, digits or _"
    )
    assert messages[1].startswith("core0: the name is taken (at Python call at ")
    assert messages[2].startswith("host: the name is taken (at Python call at ")
    assert len(messages) == 3


def test_mesh_topology() -> None:
    p, hbm = sound_platform()
    mesh = p.mesh("noc", columns=2, rows=2)
    other = vp.Platform("other").core("foreign")
    core1 = p.core("core1", vlen=512)
    p.core("core2", vlen=512)
    mesh.attach(p.cores[0], at=(0, 0))
    mesh.attach(core1, at=(0, 0))
    mesh.attach(core1, at=(1, 0))
    mesh.attach(hbm, at=[(1, 1), (2, 1), (1, 1)])  # type: ignore[type-var]
    mesh.attach(other, at=(0, 1))
    messages = faults_of_call(p)
    assert messages[0].startswith("noc.nodes.core1 = [0, 0]: node taken by core0 (at Python call")
    assert messages[1].startswith("noc.nodes.core1: core1 is attached already (at Python call")
    assert messages[2:] == [
        "noc.nodes.hbm = [1, 1]: node named twice",
        "noc.nodes.hbm = [2, 1]: outside the mesh: x must be from 0 to 1, y from 0 to 1",
        "noc.nodes.foreign: foreign is no part of this platform",
        "core2: is not connected: attach it to a node of the mesh noc",
    ]


@pytest.mark.parametrize(
    ("at", "shown"),
    [((0,), "(0,)"), ("x", "'x'"), ((0, 1, 2), "(0, 1, 2)"), ((0.0, 1), "(0.0, 1)"), ([], "[]")],
)
def test_a_node_is_two_integers(at: object, shown: str) -> None:
    p, hbm = sound_platform()
    mesh = p.mesh("noc")
    mesh.attach(p.cores[0], at=at)  # type: ignore[arg-type]
    mesh.attach(hbm, at=(1, 1))  # type: ignore[type-var]
    assert faults_of_call(p) == [f"noc.nodes.core0 = {shown}: must be a node [x, y]"]


def test_only_a_memory_has_several_nodes_and_there_is_one_mesh() -> None:
    p, hbm = sound_platform()
    mesh = p.mesh("noc")
    mesh.attach(p.cores[0], at=[(0, 0), (1, 0)])
    mesh.attach(hbm, at="here")  # type: ignore[type-var, arg-type]
    p.mesh("second")
    assert faults_of_call(p) == [
        "noc.nodes.core0 = [(0, 0), (1, 0)]: must be a node [x, y]",
        "noc.nodes.hbm = 'here': must be a node [x, y] or a list of nodes",
        "second: a platform has one mesh, and noc is it",
    ]


def test_wrong_things_are_refused_at_once() -> None:
    p, _ = sound_platform()
    with pytest.raises(
        TypeError, match=r"add: 3 is no instance of a class derived from vp\.Target"
    ):
        p.add(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"attach: 'core0' is no core, memory, host interface or"):
        p.mesh("noc").attach("core0", at=(0, 0))  # type: ignore[type-var]


def test_nodes_of_a_file(tmp_path: Path) -> None:
    text = SOUND + "cores: 3\nnoc:\n  columns: 2\n  rows: 2\n  nodes:\n    hbm: [[1, 0], [1, 1]]\n"
    assert faults_of(tmp_path, text) == [
        "p.yaml:4: core2: no free node is left for it in 2 columns x 2 rows",
        "p.yaml:4: core2: is not connected: attach it to a node of the mesh noc",
    ]
    text = text.replace("cores: 3", "cores: 2").replace("hbm: [[1", "hmb: [[1")
    assert faults_of(tmp_path, text) == [
        "p.yaml:9: noc.nodes.hmb = [[1, 0], [1, 1]]: unknown key; did you mean hbm?",
        "p.yaml:3: hbm: is not connected: attach it to a node of the mesh noc",
    ]


def test_overlaps_name_both_parties() -> None:
    p, _ = sound_platform()
    p.hbm("second", base="512MiB", **MEMORY)  # type: ignore[arg-type]
    p.add(Timer("timer", base=0x2000_0001_0000 // 16))
    messages = faults_of_call(p)
    assert messages[0].startswith(
        "memory map: hbm [0x0, 0x40000000) overlaps second [0x20000000, 0x60000000) (made at Python"
    )
    assert len(messages) == 2
    assert messages[1].startswith(
        "memory map: timer [0x20000001000, 0x20000002000) overlaps host"
    ) or messages[1].startswith(
        "memory map: host [0x20000000000, 0x20000010000) overlaps timer [0x20000001000, "
    )


def test_a_space_that_does_not_fit_its_slot(tmp_path: Path) -> None:
    assert faults_of(tmp_path, SOUND, core_window="32MiB") == [
        "p.yaml:2: core0.vector: 8MiB do not fit into a slot of 4MiB: core_window must be at "
        "least 8 times the greatest space"
    ]
    path = tmp_path / "p.yaml"
    assert len(vp.Platform.load(path, core_window="64MiB").memory_map()) == 8


def test_targets_written_in_python() -> None:
    p, _ = sound_platform()
    p.add(Timer("small", size=0))
    p.add(Timer("odd", size=6000))
    p.add(Timer("late", latency=5))
    p.add(Timer("float", size=4096.5))  # type: ignore[arg-type]
    assert faults_of_call(p) == [
        "small.size = 0: must be a number of bytes from 4KiB to 1TiB",
        "odd.size = 6000: must be a multiple of 4096 bytes",
        "late.latency = 5: has no unit (ps, ns, us, ms, s); must be a time from 0ps to 1ms",
        "float.size = 4096.5: no whole number of B; must be a number of bytes from 4KiB to 1TiB",
    ]
    p, _ = sound_platform()
    p.add(Timer("huge", size="2GiB"))
    assert faults_of_call(p) == [
        "huge = 2GiB: does not fit into the window of peripherals, which ends at 0x20040000000"
    ]


def test_the_platform_name_must_say_something(tmp_path: Path) -> None:
    assert faults_of(tmp_path, SOUND.replace("name: test", "name: ''")) == [
        "p.yaml:1: name = '': must not be empty"
    ]
