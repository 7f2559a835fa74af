"""Rooflines: of a machine's phases, and of devices that are known by their data sheets alone."""

from dataclasses import dataclass

from npuvp.analytical.generation import GenerationEstimate
from npuvp.call_kinds import call_kinds, used_experts
from npuvp.model.spec import ModelSpec
from npuvp.plan import GenerationPlan

__all__ = ["DEVICES", "Device", "Point", "device_time", "roofline"]


@dataclass(frozen=True)
class Point:
    """A phase under the roof.

    Attributes:
        name: Call and phase.
        intensity: Operations per byte of memory.
        flops: Operations per second that the estimate reaches.
        roof: Operations per second that intensity and machine allow at most.
        bound: ``compute`` or ``memory``.
    """

    name: str
    intensity: float
    flops: float
    roof: float
    bound: str


def roofline(estimate: GenerationEstimate) -> list[Point]:
    """The phases with matrix products, under the roof of the machine.

    A multiply-accumulate counts as two operations. The array multiplies whole tiles: what pads them
    counts too, so that a phase of few rows is not shown better than it is used.
    """
    hardware = estimate.hardware
    points = []
    seen = set()
    for call in estimate.calls:
        if call.kind.alike in seen:
            continue
        seen.add(call.kind.alike)
        for name, phase in call.phases.items():
            if not phase.macs or not phase.hbm_bytes:
                continue
            intensity = 2 * phase.macs / phase.hbm_bytes
            memory = intensity * hardware.peak_bandwidth
            points.append(
                Point(
                    f"{call.kind.kind}.{name}",
                    intensity,
                    2 * phase.macs / phase.cycles * hardware.clock_hz,
                    min(estimate.peak_flops, memory),
                    "compute" if memory >= estimate.peak_flops else "memory",
                )
            )
    return points


@dataclass(frozen=True)
class Device:
    """A device as its data sheet gives it, for a baseline that is a model, not a measurement.

    Attributes:
        name: Product.
        flops: Dense BF16 tensor operations per second.
        bandwidth: Bytes per second.
        watts: Board power.
        source: Of the figures.
    """

    name: str
    flops: float
    bandwidth: float
    watts: float
    source: str


DEVICES = {
    "a6000": Device(
        "NVIDIA RTX A6000",
        154.8e12,
        768e9,
        300.0,
        "NVIDIA RTX A6000 data sheet: 309.7 TFLOPS with sparsity, half of it dense; 768 GB/s; 300 W",
    ),
    "h100": Device(
        "NVIDIA H100 SXM5",
        989.4e12,
        3.35e12,
        700.0,
        "NVIDIA H100 data sheet: 1,979 TFLOPS BF16 with sparsity, half of it dense; 3.35 TB/s; 700 W",
    ),
}


@dataclass(frozen=True)
class DeviceTime:
    """Seconds of a generation on a device, as a roofline has it.

    Attributes:
        transformer: Layers.
        head: The head's product; its logits are written.
        sampling: Reading the logits, `passes` times.
    """

    transformer: float
    head: float
    sampling: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.transformer + self.head + self.sampling


def device_time(
    device: Device,
    spec: ModelSpec,
    plan: GenerationPlan,
    *,
    prompt_length: int,
    batch: int,
    logit_bytes: int = 2,
    passes: int = 1,
) -> DeviceTime:
    """A roofline of a generation: every product takes the greater of its operations at the dense
    peak and its bytes at the peak bandwidth; weights and cache in BF16 are read once per call.

    Args:
        device: Whose peaks.
        spec, plan, prompt_length, batch: The generation.
        logit_bytes: Bytes of a logit as sampling reads it: 8 for float64.
        passes: How often sampling reads or writes the logits of the sampled positions.
    """
    length = prompt_length + plan.gen_length
    q, kv = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    attended = spec.hidden * (2 * q + 2 * kv)
    transformer = head = sampling = 0.0
    for call, times in call_kinds(plan, prompt_length).items():
        rows = batch * call.count
        each = read = spec.hidden * 3 * spec.mlp
        if spec.moe is not None:
            # What a row is multiplied with, and the experts that some row chose.
            moe, expert = spec.moe, spec.hidden * 3 * spec.moe.mlp
            router = spec.hidden * moe.experts
            each = moe.top_k * expert + router
            read = used_experts(moe, rows) * expert + router
        linear = max(
            2.0 * rows * (attended + each) / device.flops,
            2.0 * (attended + read) / device.bandwidth,
        )
        scores = 4.0 * rows * length * q
        cache = 2.0 * 2 * batch * length * kv
        attention = max(scores / device.flops, cache / device.bandwidth)
        transformer += times * spec.layers * (linear + attention)
        if not call.span:
            continue
        sampled = batch * call.span
        product = max(
            2.0 * sampled * spec.hidden * spec.vocab / device.flops,
            2.0 * spec.hidden * spec.vocab / device.bandwidth,
        )
        head += times * product
        sampling += times * passes * logit_bytes * sampled * spec.vocab / device.bandwidth
    return DeviceTime(transformer, head, sampling)
