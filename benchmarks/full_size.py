"""Full-size models in timing mode, design points in closed form, and sweeps over workers."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import npuvp as vp
from benchmarks.measurement import Measurement
from npuvp.analytical import estimate, hardware_of
from npuvp.model.checkpoint import load_model
from npuvp.plan import GenerationPlan
from npuvp.replay import time_generation
from npuvp.sweep import evaluate_job, load_space, run_sweep
from npuvp.sweep.evaluate import guarded

PLAN = GenerationPlan(gen_length=256, block_length=32, steps=256, cache="dual")
SIZES = {"prompt_length": 128, "batch": 16}
POINTS = 64


def _replay() -> Measurement:
    platform = vp.Platform.load("platform/paper.yaml", hbm={"size": "64GiB"})
    begin = time.perf_counter()
    found = time_generation("llada-8b", platform, PLAN, **SIZES)
    seconds = time.perf_counter() - begin
    note = f"LLaDA-8B, B = 16, 256 calls of 32 layers: {found.cycles:,} cycles"
    return Measurement(seconds, 60.0, "lower", "s", note)


def _refine() -> Measurement:
    """Two calls, warm and refine, less one call, warm."""
    platform = vp.Platform.load("platform/paper.yaml", hbm={"size": "64GiB"})
    seconds = []
    for steps in (1, 2):
        plan = GenerationPlan(gen_length=32, block_length=32, steps=steps, cache="dual")
        begin = time.perf_counter()
        time_generation("llada-8b", platform, plan, replay=False, **SIZES)
        seconds.append(time.perf_counter() - begin)
    note = f"all 32 layers, B = 16, 160 positions; {seconds[0]:.1f} s for the warm pass"
    return Measurement(seconds[1] - seconds[0], 30.0, "lower", "s", note)


def _points() -> Measurement:
    """Every point another prompt length, batch or plan; the best of a few seconds."""
    spec = load_model("llada-8b").spec
    hardware = hardware_of(vp.Platform.load("platform/v80.yaml").description())
    plans = [
        GenerationPlan(gen_length=256, block_length=block, steps=256, cache="dual")
        for block in (16, 32)
    ]
    points = [
        (plan, length, batch)
        for length in range(64, 192)
        for batch in range(1, 9)
        for plan in plans
    ]
    rates = []
    for begin in range(0, len(points), 256):
        start = time.process_time()
        for plan, length, batch in points[begin : begin + 256]:
            estimate(spec, hardware, plan, prompt_length=length, batch=batch)
        rates.append(256 / (time.process_time() - start))
    note = "one machine: closed form of a whole generation, other plan, batch or prompt every time"
    return Measurement(max(rates), 1000.0, "higher", "points/s", note)


def _machines() -> Measurement:
    """Every point another machine, number format and plan, from the platform file on, as a sweep
    evaluates it; all of a sweep, from the first point on."""
    space = replace(load_space("platform/spaces/llada_8b.yaml"), count=2000)
    jobs = [(point.key, point.job) for point in space.points()]
    start = time.process_time()
    rows = guarded(evaluate_job, jobs)
    seconds = time.process_time() - start
    failed = sum(row["status"] != "ok" for row in rows)
    note = (
        f"{len(rows)} points, each another machine, formats and plan, platform file read and "
        f"checked; {failed} do not fit their machine"
    )
    return Measurement(len(rows) / seconds, 400.0, "higher", "points/s", note)


def _sweep_on_disk() -> Measurement:
    """The same points as one process sweeps them: read, drawn, evaluated, written, plotted."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        space = replace(load_space("platform/spaces/llada_8b.yaml"), count=2000)
        result = run_sweep(space, Path(folder) / "sweep.csv", workers=0, progress=False)
        seconds = time.process_time() - start
    note = f"{len(result.rows)} points, from the file of the space to CSV and Pareto plot"
    return Measurement(len(result.rows) / seconds, 300.0, "higher", "points/s", note)


def busy_point(job: Mapping[str, Any]) -> dict[str, float]:
    """A point that keeps a core for two seconds of its own time."""
    end = time.thread_time() + 2.0
    count = 0
    while time.thread_time() < end:
        count += 1
    names = ("cycles", "time_s", "energy_j", "area_mm2", "tokens_per_s", "tokens_per_j")
    return dict.fromkeys(names, float(job["batch"]))


def _sweep() -> Measurement:
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "space.yaml"
        platform = Path("platform/edge.yaml").resolve()
        path.write_text(
            f"model: llada-tiny\nplatform: {platform}\nmode: timing\n"
            f"plan: {{gen_length: 8, block_length: 8, steps: 8}}\n"
            f"space: {{batch: {list(range(1, POINTS + 1))}}}\n"
        )
        space = load_space(path)
        for workers in (1, 2):
            begin: list[float] = []

            def warm(workers: int = workers, begin: list[float] = begin) -> None:
                begin.append(time.perf_counter())

            result = run_sweep(
                space,
                Path(folder) / f"{workers}.csv",
                workers=workers,
                progress=False,
                evaluate=busy_point,
                on_warm=warm,
            )
            assert not result.failed
            seconds[workers] = time.perf_counter() - begin[0]
    note = f"{POINTS} points of 2 s: {seconds[1]:.0f} s on one worker, {seconds[2]:.0f} s on two"
    return Measurement(seconds[1] / seconds[2], 1.8, "higher", note=note)


def measure() -> dict[str, Measurement]:
    """Replay, a refine step in full, the closed form, and two workers over one."""
    return {
        "generation_llada_8b_replay": _replay(),
        "generation_llada_8b_refine_step": _refine(),
        "analytical_points": _points(),
        "analytical_machines": _machines(),
        "analytical_sweep": _sweep_on_disk(),
        "sweep_two_workers": _sweep(),
    }
