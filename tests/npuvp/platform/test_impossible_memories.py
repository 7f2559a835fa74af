"""Memories and meshes that cannot be: each fault before the run, with both parties or the key."""

import subprocess
from pathlib import Path

import pytest

import npuvp as vp
from npuvp import _core

ROOT = Path(__file__).parents[3]
CORE = {"vlen": 64, "mlen": 64, "blen": 16, "hlen": 16}


def meshed(core=None, **memory):
    p = vp.Platform("p")
    mesh = p.mesh("noc", columns=2, rows=1)
    mesh.attach(p.core("core0", **(CORE | (core or {}))), at=(0, 0))
    hbm = p.hbm("hbm", **({"preset": "HBM2E", "backend": "builtin"} | memory))
    return p, mesh, hbm


def faults(p):
    with pytest.raises(vp.PlatformError) as caught:
        p.check()
    return [str(fault).split(": ", 1)[1] for fault in caught.value.faults]


def test_a_node_that_cannot_be_reached():
    p, mesh, hbm = meshed()
    mesh.attach(hbm, at=[(5, 0)])
    assert faults(p) == [
        "noc.nodes.hbm = [5, 0]: outside the mesh: x must be from 0 to 1, y from 0 to 0"
    ]


def test_a_memory_that_nothing_is_bound_to():
    p, _, _ = meshed()
    assert faults(p) == ["hbm: is not connected: attach it to a node of the mesh noc"]


def test_a_port_with_two_owners():
    p, mesh, hbm = meshed()
    mesh.attach(hbm, at=[(0, 0)])
    (fault,) = faults(p)
    assert fault.startswith("noc.nodes.hbm = [0, 0]: node taken by core0 (at ")
    p, mesh, hbm = meshed()
    mesh.attach(hbm, at=[(1, 0)])
    mesh.attach(hbm, at=[(1, 0)])
    (fault,) = faults(p)
    assert fault.startswith("noc.nodes.hbm: hbm is attached already (at ")


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("channels", "an integer from 1 to 256, or 0 (as the preset says, 1 without one)"),
        ("stacks", "an integer from 1 to 64, or 0 (as the preset says, 1 without one)"),
        ("queue", "an integer from 1 to 4096"),
    ],
)
def test_counts_that_cannot_serve(key, allowed):
    value = {"channels": 257, "stacks": 65, "queue": 0}[key]
    p, mesh, hbm = meshed(**{key: value})
    mesh.attach(hbm, at=[(1, 0)])
    assert faults(p) == [f"hbm.{key} = {value}: must be {allowed}"]


def test_a_mapping_that_cannot_serve_the_number_of_channels():
    p, mesh, hbm = meshed(channels=6, mapping="hashed")
    mesh.attach(hbm, at=[(1, 0)])
    assert faults(p) == ["hbm.mapping = 'hashed': hashes the channels, and 6 is no power of two"]
    for mapping in ("", "bank_interleaved", "contiguous"):
        p, mesh, hbm = meshed(channels=6, stacks=3, mapping=mapping)
        mesh.attach(hbm, at=[(1, 0)])
        memory = p.description()["hbms"][0]
        assert memory["config"]["organization"]["channels"] == 18
        assert memory["parameters"]["size"] == 18 << 31
        assert memory["parameters"]["bandwidth"] == 18 * 51_200_000_000


@pytest.mark.skipif(
    bool(_core.memory_backend_unavailable("ramulator")),
    reason="this build has no Ramulator (RAMULATOR_ROOT)",
)
@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"stacks": 3}, "channels is 24, the backend ramulator needs a power of two"),
        ({"row_policy": "closed"}, "row_policy is closed, the backend ramulator knows open and"),
    ],
)
def test_a_memory_that_ramulator_does_not_know(given, why):
    p, mesh, hbm = meshed(backend="ramulator", **given)
    mesh.attach(hbm, at=[(1, 0)])
    (fault,) = faults(p)
    assert fault.startswith(f"hbm.backend = 'ramulator': memory HBM2E: {why}")


def test_a_preset_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    text = (ROOT / "platform/hbm/HBM2E.yaml").read_text()
    path.write_text(
        text.replace("name: HBM2E", "name: mine").replace(
            "{value: 8, source: P}", "{value: 4, source: P}"
        )
    )
    p, mesh, hbm = meshed(preset=str(path))
    mesh.attach(hbm, at=[(1, 0)])
    assert (hbm.channels, hbm.size) == (4, 8 << 30)
    assert p.description()["hbms"][0]["config"]["organization"]["channels"] == 4
    # Energy: of the generation that `energy` names.
    energy = vp.machine.energy_coefficients(p.description())["hbm"]
    p, mesh, hbm = meshed(preset="HBM2E", channels=4)
    mesh.attach(hbm, at=[(1, 0)])
    assert vp.machine.energy_coefficients(p.description())["hbm"] == energy
    # Only what differs.
    path.write_text(
        "name: mine\nextends: HBM2E\norganization:\n  channels: {value: 2, source: P}\n"
    )
    other = tmp_path / "other.yaml"
    other.write_text("name: other\nextends: mine\n")
    p, mesh, hbm = meshed(preset=str(other))
    assert (hbm.channels, hbm.size) == (2, 4 << 30)


def test_a_preset_with_missing_timings(tmp_path):
    path = tmp_path / "mine.yaml"
    text = (ROOT / "platform/hbm/HBM2E.yaml").read_text().replace("name: HBM2E", "name: mine")
    lines = [line for line in text.splitlines() if not line.startswith(("  rfc:", "  cl:"))]
    path.write_text("\n".join(lines))
    p, mesh, hbm = meshed(preset=str(path))
    mesh.attach(hbm, at=[(1, 0)])
    with pytest.raises(vp.PlatformError) as caught:
        p.check()
    found = [str(fault) for fault in caught.value.faults]
    assert len(found) == 2
    for name, fault in zip(("cl", "rfc"), found, strict=True):
        assert fault.startswith(f"{path}:") and f"timing.{name}: is missing" in fault
    p, mesh, hbm = meshed(preset=str(tmp_path / "none.yaml"))
    mesh.attach(hbm, at=[(1, 0)])
    (fault,) = faults(p)
    assert fault.startswith(f"hbm.preset = '{tmp_path}/none.yaml': there is no such file; ")


def test_queues_of_nothing_in_the_dma_engine():
    names = ("dma_queue_depth", "dma_outstanding_reads", "dma_outstanding_writes")
    p, mesh, hbm = meshed(core=dict.fromkeys(names, 0))
    mesh.attach(hbm, at=[(1, 0)])
    found = faults(p)
    assert len(found) == 3
    for name, fault in zip(names, found, strict=True):
        assert fault.startswith(f"core0.{name} = 0: must be an integer from 1 to ")


def test_maps_that_overlap():
    p = vp.Platform("p")
    p.core("core0", **CORE)
    p.hbm("a", preset="HBM2E", backend="ideal")
    p.hbm("b", preset="HBM2E", backend="ideal", base=4096)
    (fault,) = faults(p)
    assert fault.startswith("memory map: a [0x0, 0x400000000) overlaps b [0x1000, 0x400001000)")


@pytest.mark.skipif(
    not _core.memory_backend_unavailable("ramulator"), reason="this build has Ramulator"
)
def test_a_backend_that_was_not_built():
    p, mesh, hbm = meshed(backend="ramulator")
    mesh.attach(hbm, at=[(1, 0)])
    (fault,) = faults(p)
    assert fault.startswith("hbm.backend = 'ramulator': ") and "set RAMULATOR_ROOT" in fault


@pytest.mark.parametrize(
    ("files", "hint"),
    [
        ([], "It is no tree of Ramulator 2.1"),
        (["src/base/factory.h"], "It looks like Ramulator 2.0, whose interface differs"),
        (
            [
                *(f"src/ramulator/base/{name}" for name in ("config_node.h", "factory.h")),
                "src/ramulator/frontend/i_frontend.h",
                "src/ramulator/memory_system/i_memory_system.h",
            ],
            "It looks like Ramulator 2.1, not built yet",
        ),
        (
            [
                *(f"src/ramulator/base/{name}" for name in ("config_node.h", "factory.h")),
                "src/ramulator/frontend/i_frontend.h",
                "src/ramulator/memory_system/i_memory_system.h",
                "libramulator.so",
            ],
            "Its frontend takes no size_bytes",
        ),
    ],
)
def test_a_ramulator_tree_of_another_version(tmp_path, files, hint):
    root = tmp_path / "ramulator"
    root.mkdir()
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    script = tmp_path / "find.cmake"
    script.write_text(f'include("{ROOT}/cmake/FindRamulator.cmake")\n')
    done = subprocess.run(
        ["cmake", f"-DRAMULATOR_ROOT={root}", "-P", script],
        capture_output=True,
        text=True,
        check=False,
    )
    message = " ".join(done.stderr.split())
    assert done.returncode != 0
    assert hint in message and f"RAMULATOR_ROOT is {root}" in message
