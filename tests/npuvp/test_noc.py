"""Meshes, many cores, memories of several nodes: whole platforms from Python."""

import numpy as np
import pytest

import npuvp as vp
from npuvp.errors import DeadlockError
from npuvp.isa import assemble_text
from npuvp.sampling import sample, seeded_logits, workload

CORE = {
    "vlen": 64,
    "mlen": 64,
    "blen": 16,
    "hlen": 16,
    "vector_sram_bytes": "64KiB",
    "fp_sram_words": 4096,
    "int_sram_words": 4096,
}


def mesh_platform(cores, columns, rows, *, backend="builtin", nodes=1, **noc):
    p = vp.Platform("meshed", clock="1GHz")
    mesh = p.mesh("noc", columns=columns, rows=rows, **noc)
    places = [(x, y) for y in range(rows) for x in range(columns - 1)]
    for i in range(cores):
        mesh.attach(p.core(f"core{i}", **CORE), at=places[i])
    hbm = p.hbm("hbm", preset="HBM2E", backend=backend)
    mesh.attach(hbm, at=[(columns - 1, y) for y in range(nodes)])
    return p


def bus_platform(backend="ideal"):
    p = vp.Platform("bus", clock="1GHz")
    p.core("core0", **CORE)
    p.hbm("hbm", preset="HBM2E", backend=backend)
    return p


@pytest.fixture(scope="module")
def work():
    logits = seeded_logits(2, 6, 3001)
    return workload(logits, k=[2, 5], mask_id=3000)


@pytest.fixture(scope="module")
def alone(work):
    return sample(bus_platform(), work, form="edge").outputs


@pytest.mark.parametrize(
    ("cores", "columns", "rows", "nodes"), [(1, 2, 1, 1), (3, 3, 2, 2), (7, 5, 2, 2), (16, 5, 4, 4)]
)
def test_split_sampling_gives_the_bits_of_one_core(work, alone, cores, columns, rows, nodes):
    p = mesh_platform(cores, columns, rows, nodes=nodes)
    result = sample(p, work, form="split")
    for name, value in alone.items():
        np.testing.assert_array_equal(
            result.outputs[name].view(np.uint8), value.view(np.uint8), err_msg=name
        )
    assert result.outputs["transfer"].sum(axis=1).tolist() == [2, 5]
    links = result.stats["noc"]["links"]
    # Every packet that enters leaves; the answer to the last doorbell is on its way at the end.
    entered = sum(link["packets"] for name, link in links.items() if name.endswith("_in"))
    left = sum(link["packets"] for name, link in links.items() if name.endswith("_out"))
    assert entered - 1 == left == result.stats["noc"]["packets"] > 0
    assert all(0 <= link["utilisation"] <= 1 for link in links.values())
    for node in range(nodes):
        name = f"r{node}c{columns - 1}.hbm_{node}_in" if nodes > 1 else f"r0c{columns - 1}.hbm_in"
        assert links[name]["packets"] > 0
    assert result.energy.by_component["noc"] > 0


def test_timing_mode_takes_the_same_cycles(work):
    p = mesh_platform(4, 3, 2, nodes=2)
    functional = sample(p, work, form="split")
    timing = sample(p, work, form="split", mode="timing", decisions=functional.decisions)
    assert timing.cycles == functional.cycles
    again = sample(p, work, form="split")
    assert again.cycles == functional.cycles


def test_the_way_through_the_mesh_costs_its_hops():
    """One 32-bit word over 1 and over 4 links: 3 links more each way, 2 cycles each."""
    source = """
        .tensor word, hbm, 0, raw32, 1, in
        .text
        LIA a1, 0, gp1
        LI gp1, 1
        C_CSRW dma_len, gp1
        H_LD_INT gp0, gp0, a1, gp1, 0
        C_FENCE 1
        C_HALT gp0
    """
    cycles = []
    for columns in (2, 5):
        p = vp.Platform("p", clock="1GHz")
        mesh = p.mesh("noc", columns=columns, rows=1)
        mesh.attach(p.core("core0", **CORE), at=(0, 0))
        hbm = p.hbm("hbm", backend="ideal", size="1GiB", bandwidth="100GB/s", latency="100ns")
        mesh.attach(hbm, at=(columns - 1, 0))
        result = p.run(assemble_text(source), inputs={"word": np.array([7], np.int32)})
        cycles.append(result.cycles)
    assert cycles[1] - cycles[0] == 2 * 3 * 2


def test_a_memory_on_two_nodes_spreads_pages_over_them():
    source = """
        .tensor data, hbm, 0, raw8, 4 * 4096, in
        .tensor copy, hbm, 0x10_0000, raw8, 4 * 4096, out
        .text
        LIA a1, data, gp1
        LIA a2, copy, gp1
        LI gp1, 4 * 4096
        C_CSRW dma_len, gp1
        H_COPY a2, gp0, a1, gp0, 0
        C_FENCE 1
        C_HALT gp0
    """
    data = np.random.default_rng(0).integers(0, 256, 4 * 4096).astype(np.uint8)
    p = mesh_platform(1, 3, 2, nodes=2)
    result = p.run(assemble_text(source), inputs={"data": data})
    np.testing.assert_array_equal(result.outputs["copy"], data)
    links = result.stats["noc"]["links"]
    for name in ("r0c2.hbm_0_out", "r1c2.hbm_1_out"):
        assert links[name]["packets"] == 4  # two pages read, two written
        assert links[name]["request_flits"] == 2 * 1 + 2 * (1 + 4096 // 64)
    assert result.stats["hbm"]["bytes_read"] == result.stats["hbm"]["bytes_written"] == 4 * 4096
    counts = result.stats["hbm"]["counts"]
    assert counts["reads"] == 4 * 4096 // 32
    assert counts["activates"] > 0


def test_multicast_crosses_shared_links_once():
    source = """
        .text
        .core 0
        LI gp1, 0x3F800000
        S_SET_FP f1, gp1
        V_SUB_VV gp0, gp0, gp0
        V_ADD_VF gp0, gp0, f1
        LI gp2, 640
        LI gp3, MASK
        LI gp4, 1
        H_MCAST gp0, gp2, gp3, gp4, 0
        C_FENCE 1
        C_HALT gp0
        .core all
        C_HALT gp0
    """
    p = mesh_platform(6, 4, 2, nodes=1)
    result = p.run(assemble_text(source, defines={"MASK": 0b111110}))
    for core in range(6):
        row = p.machine.read_bytes(f"core{core}.vector", 1280, 128).view(np.uint16)
        assert set(row.tolist()) == ({0x3F80} if core else {0})
    links = result.stats["noc"]["links"]
    assert links["r0c0.core0_in"]["request_flits"] == 3  # a header and 128 bytes, once
    assert links["r0c0.east"]["packets"] == 1
    assert sum(link["packets"] for name, link in links.items() if name.endswith("_out")) == 10


class Scratch(vp.Target):
    """A memory in Python."""

    size = 4096

    def __init__(self, name, **options):
        super().__init__(name, **options)
        self.bytes = bytearray(4096)
        self.calls = []

    def read(self, offset, length):
        self.calls.append(("read", offset, length))
        return bytes(self.bytes[offset : offset + length])

    def write(self, offset, data):
        self.calls.append(("write", offset, len(data)))
        if offset == 0x800:
            raise KeyError("register 0x800 is reserved")
        self.bytes[offset : offset + len(data)] = data


TARGET = """
    .text
    LIA a1, {base}, gp1, gp2
    LI gp1, 1
    C_CSRW dma_len, gp1
    LI gp2, 77
    S_ST_INT gp2, gp0, 0
    LI gp3, {offset}
    H_ST_INT gp0, gp3, a1, gp1, 0
    C_FENCE 1
    LI gp4, 5
    H_LD_INT gp4, gp3, a1, gp1, 0
    C_FENCE 1
    C_HALT gp0
"""


@pytest.mark.parametrize("meshed", [False, True])
def test_a_target_written_in_python(meshed):
    p = mesh_platform(1, 3, 1) if meshed else bus_platform()
    target = p.add(Scratch("scratch"))
    if meshed:
        p.noc.attach(target, at=(1, 0))
    base = next(r.base for r in p.memory_map() if r.name == "scratch")
    p.run(assemble_text(TARGET.format(base=base, offset=64)))
    assert target.calls == [("write", 64, 4), ("read", 64, 4)]
    word = p.machine.read_bytes("core0.int", 20, 4).view(np.uint32)
    assert word.tolist() == [77]
    with pytest.raises(KeyError, match="register 0x800 is reserved"):
        p.run(assemble_text(TARGET.format(base=base, offset=0x800)))


def test_a_deadlock_names_who_waits_for_what():
    source = """
        .text
        .core 0
        LI gp1, 3
        LI gp2, 1
        C_SEM_WAIT gp1, gp2
        C_HALT gp0
        .core 1
        LI gp2, 2
        C_BARRIER gp0, gp2
        C_HALT gp0
    """
    p = mesh_platform(2, 3, 1)
    with pytest.raises(DeadlockError) as caught:
        p.run(assemble_text(source))
    text = str(caught.value)
    assert "core0 at pc 0x0002 waits for semaphore 3 (needs 1, has 0)" in text
    assert "core1 at pc 0x0001 waits for barrier 0 (1 of 2 cores have arrived)" in text


def faults(p):
    with pytest.raises(vp.PlatformError) as caught:
        p.check()
    return [str(fault).split(": ", 1)[1] for fault in caught.value.faults]


def test_impossible_platforms_name_both_parties():
    p = vp.Platform("p")
    mesh = p.mesh("noc", columns=2, rows=2)
    mesh.attach(p.core("core0", **CORE), at=(0, 0))
    mesh.attach(p.core("core1", **CORE), at=(0, 0))
    hbm = p.hbm("hbm", preset="HBM2E", backend="builtin")
    mesh.attach(hbm, at=[(1, 0), (1, 1), (0, 1)])
    found = faults(p)
    assert any("node taken by core0" in fault for fault in found)
    assert any("3 nodes cannot share hbm's 8 channels evenly" in fault for fault in found)

    p = mesh_platform(1, 2, 1)
    p.core("core9", **CORE)
    assert any(
        "core9: is not connected: attach it to a node of the mesh noc" in f for f in faults(p)
    )

    p = mesh_platform(1, 2, 1, buffer_flits=0)
    assert any("noc.buffer_flits = 0" in fault for fault in faults(p))

    p = bus_platform()
    p.hbm("other", preset="HBM2E", backend="ideal", base=4096)
    assert any("hbm" in fault and "other" in fault for fault in faults(p))


@pytest.fixture(scope="module")
def real_step():
    work = workload(seeded_logits(1, 4, 126464, 3))
    return work, sample(vp.Platform.load("platform/paper.yaml", core={"vlen": 512}), work).outputs


@pytest.mark.parametrize("name", ["v80", "quad", "manycore"])
def test_platform_files_run_a_real_step(name, real_step):
    work, alone = real_step
    p = vp.Platform.load(f"platform/{name}.yaml", core={"vlen": 512, "mlen": 128, "blen": 16})
    result = sample(p, work)
    for output, value in alone.items():
        np.testing.assert_array_equal(
            result.outputs[output].view(np.uint8), value.view(np.uint8), err_msg=output
        )
    assert result.outputs["transfer"].sum() == 1
