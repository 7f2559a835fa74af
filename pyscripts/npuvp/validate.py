"""The paths against each other: analytical, cycle-level, and golden (values).

Errors are signed: negative where the analytical path says fewer cycles than the simulation.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from npuvp.analytical import estimate, estimate_sampling, hardware_of
from npuvp.compiler.runtime import generate, generate_and_run
from npuvp.golden.sampling import sampling_step
from npuvp.model.checkpoint import load_model
from npuvp.plan import Cache, GenerationPlan
from npuvp.platform import Platform
from npuvp.replay import time_generation
from npuvp.sampling import sample, seeded_logits, workload

__all__ = [
    "CASES",
    "GEMM_LIMIT",
    "LEAST_SHARE",
    "PHASE_LIMIT",
    "QUICK",
    "Case",
    "Row",
    "check_case",
    "validate",
]

_ROOT = Path(__file__).resolve().parents[2]
#: Largest error per phase, and of all matrix products of a call together and of a sampling step.
PHASE_LIMIT, GEMM_LIMIT = 0.10, 0.05
#: Phases below this share of their call's cycles are shown, and held to nothing.
LEAST_SHARE = 0.02
_GEMM = ("qkv", "o", "gate_up", "down", "experts")


@dataclass(frozen=True)
class Case:
    """A generation, or a sampling step where `model` is None.

    Attributes:
        platform: File in `platform/`.
        overrides: Sections of it.
        model: Directory below the tree, or a name.
        plan: What to generate; of a sampling step (B, L, V).
        prompt, batch: P and B.
        form: Of a sampling step.
        formats: Number formats by class of tensors.
        cores: How many share a generation; None: all.
        calls_per_block: With a threshold or factor.
    """

    platform: str
    model: str | None
    plan: GenerationPlan | tuple[int, int, int]
    prompt: int = 16
    batch: int = 1
    overrides: dict[str, dict[str, Any]] = field(default_factory=dict)
    form: str | None = None
    formats: dict[str, str] | None = None
    calls_per_block: int | None = None
    cores: int | None = 1

    def load(self) -> Platform:
        """The platform."""
        return Platform.load(_ROOT / "platform" / f"{self.platform}.yaml", **self.overrides)

    @property
    def name(self) -> str:
        """For tables."""
        changes = ",".join(
            f"{key}={value}" for part in self.overrides.values() for key, value in part.items()
        )
        where = f"{self.platform}[{changes}]" if changes else self.platform
        if isinstance(self.plan, tuple):
            return f"sampling {self.plan} {where}"
        plan = self.plan
        model = (self.model or "").removeprefix("models/")
        formats = "".join(f" {key}={value}" for key, value in (self.formats or {}).items())
        chosen = {
            "kv": plan.kv_format if plan.kv_format != "bf16" else None,
            "temperature": plan.temperature or None,
            "cfg_scale": plan.cfg_scale or None,
            "threshold": plan.threshold,
            "factor": plan.factor,
            "revision": plan.revision if plan.revision != "fast-dllm-2026" else None,
            "algorithm": plan.algorithm,
            "top_p": plan.top_p,
            "top_k": plan.top_k,
            "sub_block": plan.sub_block if plan.revision == "fast-dllm-v2" else None,
        }
        flags = ("logits_eos_inf", "confidence_eos_eot_inf", "sub_block_cache")
        formats += "".join(f" {name}" for name in flags if getattr(plan, name))
        how = "".join(f" {key}={value}" for key, value in chosen.items() if value is not None)
        if self.cores != 1:
            where += " all cores" if self.cores is None else f" {self.cores} cores"
        return (
            f"{model} {where} B={self.batch} P={self.prompt} "
            f"G={plan.gen_length}/{plan.block_length} {plan.cache}{how}{formats}"
        )


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        case: Its name.
        what: Call and operation.
        analytical, simulated: Cycles; of a comparison of values how many differ, and 0.
        share: Of the call's cycles.
        limit: Largest error; None: held to nothing.
    """

    case: str
    what: str
    analytical: float
    simulated: float
    share: float
    limit: float | None

    @property
    def error(self) -> float:
        """Signed, relative to the simulation."""
        if self.simulated == 0:
            return float(self.analytical)
        return self.analytical / self.simulated - 1

    @property
    def holds(self) -> bool:
        """Whether the limit is kept."""
        return self.limit is None or abs(self.error) <= self.limit


def _plan(
    gen: int, block: int, steps: int, cache: Cache = "dual", kv_format: str = "bf16", **more: Any
) -> GenerationPlan:
    return GenerationPlan(
        gen_length=gen, block_length=block, steps=steps, cache=cache, kv_format=kv_format, **more
    )


def _v2_plan(gen: int, block: int, sub_block: int, **more: Any) -> GenerationPlan:
    return GenerationPlan(
        gen_length=gen, block_length=block, sub_block=sub_block, cache="block",
        revision="fast-dllm-v2", **more,
    )  # fmt: skip


_BLOCKING = {"core": {"issue": "blocking"}}
_NARROW = {"core": {"vlen": 512, "mlen": 512}}
_QUIET = {"hbm": {"refresh": "none"}}
_MINI = "models/llada-mini"

_NO_REFRESH = {"hbm": {"refresh": "none"}}
#: As large as four tiles of Matrix SRAM on each core allow.
_SMALL = "llada-tiny:layers=2,hidden=512,heads=16,mlp=1024,vocab=4096"

QUICK = (
    Case("paper", None, (2, 4, 126_464)),
    Case("paper", None, (2, 4, 126_464), overrides=_BLOCKING),
    Case("edge", None, (1, 2, 20_000), form="edge"),
    Case("edge", _MINI, _plan(16, 8, 8), batch=2),
    Case("paper", _MINI, _plan(16, 8, 8), batch=2),
    Case("v80", _MINI, _plan(16, 8, 8, "prefix")),
    # Phases of some hundred cycles meet a refresh or none; those of CASES are longer.
    Case("quad", _MINI, _plan(16, 8, 8), batch=2, overrides=_NO_REFRESH, cores=None),
    Case("manycore", None, (2, 8, 126_464), form="split"),
    Case("quad", None, (2, 4, 126_464), form="split"),
    Case("paper", _MINI, _plan(16, 8, 8), batch=2, formats={"weights": "mxint8"}),
    Case("edge", _MINI, _plan(8, 8, 4, temperature=0.7, cfg_scale=1.5), batch=2),
    Case("edge", _MINI, _plan(8, 8, 8, threshold=0.9), batch=2, calls_per_block=4),
    Case("paper", _MINI, _plan(16, 8, 8, "dual", "baos-mxint4"), batch=2),
    Case("paper", "dream-tiny", _plan(16, 8, 8, revision="dream"), batch=2),
    Case("paper", "llada-tiny", _plan(16, 8, 8, factor=1.0), batch=2, calls_per_block=3),
    Case("edge", "fast-dllm-v2-tiny", _v2_plan(32, 16, 4), prompt=24),
    Case("paper", "llada-moe-tiny", _plan(16, 8, 8), overrides=_NARROW),
    Case(
        "paper",
        "llada-tiny",
        _plan(16, 8, 8),
        batch=2,
        formats={"activations": "mxint8", "logits": "mxfp8_e4m3"},
    ),
)
CASES = (
    *QUICK,
    Case("quad", None, (2, 4, 126_464), form="split", overrides=_BLOCKING),
    Case(
        "quad",
        "llada-8b:layers=2,vocab=16384",
        _plan(32, 32, 16),
        prompt=64,
        batch=2,
        overrides={"core": {"matrix_sram_bytes": "4MiB"}},
        cores=None,
    ),
    Case("manycore", _SMALL, _plan(16, 8, 4), batch=2, cores=8),
    Case("manycore", _MINI, _plan(8, 8, 4), batch=2, cores=None),
    Case("v80", None, (2, 4, 126_464)),
    Case("paper", None, (2, 4, 126_464), overrides={"core": {"vlen": 512}}),
    Case("plena", None, (1, 2, 20_000)),
    Case("manycore", None, (1, 16, 20_000), form="edge"),
    Case("edge", _MINI, _plan(16, 8, 8, "none"), batch=2, overrides=_BLOCKING),
    Case("edge", "llada-tiny", _plan(32, 32, 8, "prefix"), prompt=32),
    Case("paper", "llada-8b:layers=2", _plan(32, 32, 16), prompt=64, overrides=_BLOCKING),
    Case("v80", "llada-8b:layers=2", _plan(64, 32, 16), prompt=128, batch=4),
    Case("edge", _MINI, _plan(16, 8, 8, "dual", "mxint4"), batch=2),
    Case(
        "quad",
        "llada-8b:layers=2",
        _plan(64, 32, 16),
        prompt=64,
        batch=2,
        overrides={"core": {"matrix_sram_bytes": "4MiB"}},
    ),
    Case(
        "v80",
        "llada-8b:layers=2",
        _plan(64, 32, 16, "dual", "mxint8"),
        prompt=128,
        batch=4,
        formats={"weights": "mxint4", "head": "mxint4"},
    ),
    Case(
        "paper",
        "llada-8b:layers=2",
        _plan(64, 32, 64),
        prompt=128,
        batch=16,
        overrides={"hbm": {"size": "64GiB"}},
    ),
    Case(
        "v80",
        "llada-8b:layers=2",
        _plan(64, 32, 16, "dual", "baos-mxint4"),
        prompt=128,
        batch=4,
        formats={"weights": "mxint4", "head": "mxint4"},
    ),
    Case(
        "paper",
        "llada-8b:layers=2",
        _plan(64, 32, 16, "dual", "baos-mxint4"),
        prompt=128,
        batch=16,
        overrides={"hbm": {"size": "64GiB"}},
        formats={
            "weights": "mxint4",
            "head": "mxint4",
            "activations": "mxint8",
            "logits": "mxfp8_e4m3",
        },
    ),
    Case("paper", _MINI, _plan(16, 8, 8, "prefix", "baos-mxfp4"), batch=3, overrides=_BLOCKING),
    Case(
        "v80",
        "dream-7b:layers=2",
        _plan(64, 64, 16, "none", revision="dream", algorithm="entropy", temperature=0.2),
        prompt=128,
        overrides={"hbm": {"backend": "ideal"}},
    ),
    Case(
        "paper",
        "dream-tiny",
        _plan(16, 16, 4, "none", revision="dream", algorithm="topk_margin", alg_temp=0.5),
        overrides=_BLOCKING,
    ),
    Case(
        "v80",
        "llada-tiny",
        _plan(
            16,
            8,
            8,
            "none",
            revision="llada",
            logits_eos_inf=True,
            confidence_eos_eot_inf=True,
            eot_id=7,
        ),
        overrides=_QUIET,
    ),
    Case(
        "paper",
        "fast-dllm-v2-1.5b:layers=2",
        _v2_plan(64, 32, 8, threshold=0.9, sub_block_cache=True),
        prompt=128,
        overrides={"hbm": {"size": "64GiB"}},
        calls_per_block=12,
    ),
    Case(
        "paper",
        "dream-7b:layers=1",
        _plan(32, 32, 16, "dual", revision="dream", temperature=0.2, top_p=0.95),
        prompt=64,
        overrides={"hbm": {"size": "64GiB"}},
    ),
    Case(
        "paper",
        "llada-moe-7b:layers=1",
        _plan(64, 32, 16),
        prompt=64,
        overrides={"hbm": {"size": "64GiB"}},
    ),
)


def check_case(case: Case) -> Iterator[Row]:
    """Analytical against cycle-level.

    Yields:
        A row per phase of every kind of call, and for its matrix products together.
    """
    platform = case.load()
    hardware = hardware_of(platform.description())
    if isinstance(case.plan, tuple):
        batch, positions, vocabulary = case.plan
        work = workload(seeded_logits(batch, positions, vocabulary))
        form = case.form or ("performance" if len(platform.cores) > 1 else None)
        result = sample(platform, work, mode="timing", form=form, progress=False)
        found = estimate_sampling(hardware, batch, positions, vocabulary, form)
        yield Row(case.name, found.form, found.cycles, result.cycles, 1.0, GEMM_LIMIT)
        return
    assert case.model is not None
    model = str(_ROOT / case.model) if (_ROOT / case.model).is_dir() else case.model
    checkpoint = load_model(model)
    sizes: dict[str, Any] = {
        "prompt_length": case.prompt,
        "batch": case.batch,
        "formats": case.formats,
        "cores": case.cores,
        "calls_per_block": case.calls_per_block,
    }
    timing = time_generation(checkpoint, platform, case.plan, **sizes)
    closed = estimate(checkpoint.spec, hardware, case.plan, **sizes)
    by_kind = {call.kind: call for call in closed.calls}
    seen = set()
    for call in timing.calls:
        kind = call.kind.alike
        if kind in seen:
            continue
        seen.add(kind)
        ours = by_kind[call.kind].phases
        title = f"{kind[0]} {kind[1]}" + ("" if kind[2] else " (no head)")
        for name, cycles in call.phases.items():
            share = cycles / call.cycles
            limit = PHASE_LIMIT if share >= LEAST_SHARE else None
            yield Row(case.name, f"{title} {name}", ours[name].cycles, cycles, share, limit)
        names = [name for name in _GEMM if name in ours]
        products = sum(call.phases[name] for name in names)
        estimated = sum(ours[name].cycles for name in names)
        share = products / call.cycles
        yield Row(case.name, f"{title} all GEMM", estimated, products, share, GEMM_LIMIT)
    total = sum(
        phase.cycles * call.times for call in closed.calls for phase in call.phases.values()
    )
    yield Row(case.name, "generation", total, timing.cycles, 1.0, PHASE_LIMIT)


def golden_rows() -> Iterator[Row]:
    """Cycle-level against golden: values that differ; timing mode against functional: cycles."""
    platform = Platform.load(_ROOT / "platform" / "edge.yaml")
    rng = np.random.default_rng(0)
    model = str(_ROOT / _MINI)
    prompt = rng.integers(1, 60, (2, 8)).astype(np.int32)
    plan = _plan(8, 8, 4)
    machine, run = generate_and_run(model, prompt, plan, platform)
    golden = generate(model, prompt, plan, platform, golden=True)
    assert run is not None
    name = "golden: llada-mini edge"
    differ = int((machine.tokens != golden.tokens).sum()) + sum(
        int((a.canvas_after != b.canvas_after).sum())
        for a, b in zip(machine.calls, golden.calls, strict=True)
    )
    yield Row(name, "tokens that differ", differ, 0, 1.0, 0.0)
    timing = time_generation(model, platform, plan, prompt_length=8, batch=2, replay=False)
    yield Row(name, "timing mode", timing.cycles, run.cycles, 1.0, 0.01)
    replay = time_generation(model, platform, plan, prompt_length=8, batch=2)
    yield Row(name, "timing mode with replay", replay.cycles, run.cycles, 1.0, 0.01)
    yield from _golden_sampling(platform)


def _golden_sampling(platform: Platform) -> Iterator[Row]:
    from npuvp._core import convert

    batch, positions, vocabulary = 1, 2, 4000
    work = workload(seeded_logits(batch, positions, vocabulary))
    result = sample(platform, work, progress=False)
    data, scale_data = convert.encode_rows(work.logits.reshape(-1, vocabulary), "mxfp8_e4m3", 32)
    padded = -(-vocabulary // 32) * 32
    step = sampling_step(
        data.reshape(batch, positions, padded),
        scale_data.reshape(batch, positions, padded // 32),
        vocabulary,
        work.tokens,
        work.k,
        work.mask_id,
        vlen=platform.description()["cores"][0]["parameters"]["vlen"],
    )
    differ = int((result.outputs["tokens"] != step.tokens).sum())
    differ += int((result.outputs["confidence"] != step.confidence).sum())
    yield Row("golden: sampling edge", "values that differ", differ, 0, 1.0, 0.0)


def validate(quick: bool = False, progress: Callable[[str], None] | None = None) -> list[Row]:
    """Every comparison.

    Args:
        quick: The cases of CI.
        progress: Is told what is compared next.
    """
    rows: list[Row] = []
    for case in QUICK if quick else CASES:
        if progress is not None:
            progress(case.name)
        rows += check_case(case)
    if progress is not None:
        progress("golden model")
    rows += golden_rows()
    return rows
