"""Queues of a platform's memory are kept as full as a stream of requests keeps them."""

import pytest

import npuvp as vp
from npuvp import _core
from npuvp.sampling import sample, seeded_logits, workload


def share_of_peak(queue: int, backend: str = "builtin") -> tuple[int, float]:
    """Cycles of a step that one channel of memory bounds, and what it reads of its peak."""
    p = vp.Platform("queues")
    p.core("core0", vlen=2048, dma_ports=16)
    p.hbm("hbm", preset="HBM2E", backend=backend, queue=queue, refresh="none", channels=1)
    result = sample(p, workload(seeded_logits(1, 2, 60_000)), progress=False)
    return result.cycles, result.stats["hbm"]["bandwidth"] / 51.2e9


@pytest.mark.parametrize("queue", [1, 2, 4, 8, 16])
def test_a_machine_uses_small_queues_as_a_stream_does(queue: int) -> None:
    stream = vp.memory_stream(
        preset="HBM2E", pattern="sequential", reads=1, writes=0, refresh="none", queue=queue,
        requests=20_000,
    )  # fmt: skip
    _, share = share_of_peak(queue)
    # The step begins and ends without the memory, and reads more than one stream.
    assert 0.8 * stream.fraction_of_peak < share <= stream.fraction_of_peak


@pytest.mark.skipif(
    bool(_core.memory_backend_unavailable("ramulator")),
    reason="this build has no Ramulator (RAMULATOR_ROOT)",
)
@pytest.mark.parametrize(("queue", "within"), [(1, 0.0), (2, 0.0), (8, 0.005), (32, 0.001)])
def test_the_backends_take_the_same_time_with_queues_of_any_depth(
    queue: int, within: float
) -> None:
    builtin, ramulator = (share_of_peak(queue, name)[0] for name in ("builtin", "ramulator"))
    assert builtin == pytest.approx(ramulator, rel=within, abs=0)
