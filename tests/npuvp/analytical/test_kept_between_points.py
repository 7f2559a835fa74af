"""Estimates do not depend on what was estimated before: every cache's key holds all that matters."""

import sys
from pathlib import Path

import pytest

from npuvp.compiler.errors import CompileError
from npuvp.kept import Kept, KeptFiles
from npuvp.sweep import evaluate_job

ROOT = Path(__file__).parents[3]
JOB = {
    "model": "llada-8b",
    "platform": f"{ROOT}/platform/v80.yaml",
    "mode": "analytical",
    "prompt_length": 100,
    "batch": 4,
    "cores": 1,
    "calls_per_block": None,
    "experts_per_tile": None,
    "plan": {"gen_length": 64, "block_length": 32, "steps": 32, "cache": "dual"},
    "formats": {},
    "set": {
        "hbm.size": "32GiB",
        "hbm.backend": "ideal",
        "hbm.bandwidth": "800GB/s",
        "core.vlen": 1024,
        "core.blen": 32,
        "core.matrix_sram_bytes": "64MiB",
        "core.fp_sram_words": 4096,
        "core.int_sram_words": 4096,
    },
}
#: One thing each in which a point differs from `JOB`.
VARIANTS = [
    ("set", "hbm.bandwidth", "801GB/s"),
    ("set", "hbm.latency", "333ns"),
    ("set", "hbm.size", "31GiB"),
    ("set", "clock", "1.25GHz"),
    ("set", "voltage", 0.65),
    ("set", "clock_gating", False),
    ("set", "core.vlen", 512),
    ("set", "core.mlen", 512),
    ("set", "core.blen", 64),
    ("set", "core.matrix_rows", 2),
    ("set", "core.accumulators", 2),
    ("set", "core.issue", "blocking"),
    ("set", "core.matrix_timing", "table"),
    ("set", "core.timing.vector_exp.latency", 40),
    ("set", "core.timing.vector_exp.interval", 9),
    ("set", "core.timing.matrix_mm.latency", 70),
    ("set", "core.timing.matrix_writeout.interval", 300),
    ("set", "core.timing.scalar_int.interval", 2),
    ("set", "core.vector_sram_bytes", "4MiB"),
    ("set", "core.matrix_sram_bytes", "32MiB"),
    ("set", "core.int_sram_words", 600),
    ("set", "core.weight_format", "mxint4"),
    ("set", "core.dma_ports", 8),
    ("set", "core.dma_port_bits", 64),
    ("set", "core.dma_burst_beats", 2),
    ("set", "core.dma_start_cycles", 50),
    ("set", "core.dma_queue_depth", 2),
    ("set", "hbm.backend", "builtin"),
    ("formats", "weights", "mxint8"),
    ("formats", "embedding", "mxint8"),
    ("formats", "head", "mxint4"),
    ("formats", "keys", "mxint8"),
    ("formats", "activations", "mxint8"),
    ("formats", "logits", "mxfp8_e4m3"),
    ("plan", "gen_length", 128),
    ("plan", "block_length", 64),
    ("plan", "steps", 64),
    ("plan", "cache", "prefix"),
    ("plan", "cache", "none"),
    ("plan", "temperature", 0.5),
    ("plan", "cfg_scale", 1.0),
    ("plan", "remasking", "random"),
    ("plan", "kv_format", "mxint4"),
    ("plan", "kv_format", "baos-mxint4"),
    (None, "batch", 5),
    (None, "prompt_length", 99),
    (None, "model", "dream-7b"),
]


def _varied(section, key, value):
    if section is None:
        return JOB | {key: value}
    return JOB | {section: JOB[section] | {key: value}}


def _forget():
    """Empties every cache of the package but that of the declaration, which is no one's to change."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] != "npuvp":
            continue
        for attribute, value in list(vars(module).items()):
            if hasattr(value, "cache_clear") and attribute != "declaration":
                value.cache_clear()
            elif isinstance(value, KeptFiles):
                value._found.clear()
            elif isinstance(value, Kept):
                value.clear()


@pytest.fixture(scope="module")
def fresh():
    """What each point is when nothing was estimated before."""
    found = []
    for variant in VARIANTS:
        _forget()
        found.append(evaluate_job(_varied(*variant)))
    return found


def test_points_that_differ_in_one_thing_do_not_mix(fresh):
    _forget()
    base = evaluate_job(JOB)
    jobs = [_varied(*variant) for variant in VARIANTS]
    assert [evaluate_job(job) for job in jobs] == fresh
    assert [evaluate_job(job) for job in reversed(jobs)] == fresh[::-1]
    assert evaluate_job(JOB) == base
    # They are points of their own; a little less memory changes nothing.
    alike = [variant[1] for variant, point in zip(VARIANTS, fresh, strict=True) if point == base]
    assert alike == ["hbm.size"]


def test_what_does_not_fit_is_said_again(fresh):
    job = _varied("set", "core.matrix_sram_bytes", "2MiB")
    messages = []
    for _ in range(2):
        with pytest.raises(CompileError) as error:
            evaluate_job(job)
        messages.append(str(error.value))
    assert messages[0] == messages[1] and "Matrix SRAM" in messages[0]
    assert evaluate_job(_varied(*VARIANTS[0])) == fresh[0]


def test_a_platform_file_that_changes_is_another_machine(tmp_path):
    path = tmp_path / "p.yaml"
    text = Path(JOB["platform"]).read_text()
    found = []
    for clock in ("1GHz", "2GHz", "1GHz"):
        path.write_text(text.replace("clock: 1GHz", f"clock: {clock}"))
        found.append(evaluate_job(JOB | {"platform": str(path)})["cycles"])
    assert found[0] == found[2] != found[1]
