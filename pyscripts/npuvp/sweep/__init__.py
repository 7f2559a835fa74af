"""Design spaces over Dask."""

from npuvp.sweep.evaluate import evaluate_job
from npuvp.sweep.pareto import pareto_front
from npuvp.sweep.run import SweepError, SweepResult, run_sweep
from npuvp.sweep.space import Point, Space, SpaceError, load_space
from npuvp.sweep.store import Store, StoreError

__all__ = [
    "Point",
    "Space",
    "SpaceError",
    "Store",
    "StoreError",
    "SweepError",
    "SweepResult",
    "evaluate_job",
    "load_space",
    "pareto_front",
    "run_sweep",
]
