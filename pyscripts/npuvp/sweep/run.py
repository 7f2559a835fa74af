"""Runs a sweep: points out to Dask's workers, results back to disk as they come."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from npuvp.sweep.evaluate import evaluate_job, guarded
from npuvp.sweep.pareto import pareto_front, plot_pareto
from npuvp.sweep.space import METRICS, Point, Space
from npuvp.sweep.store import Store

__all__ = ["SweepError", "SweepResult", "run_sweep"]

Rows = list[dict[str, Any]]
#: Points in closed form that go to a worker together at first, and at most.
_FIRST, _MOST = 25, 1000
#: Seconds that a worker is to be busy with them, many times what handing them out takes.
_BUSY = 0.25


class SweepError(ValueError):
    """A sweep that cannot run."""


@dataclass(frozen=True)
class SweepResult:
    """What a sweep left.

    Attributes:
        rows: Of every point, in the order of the space.
        files: Written.
        evaluated: Points that this run evaluated; the others were there.
        failed: Rows of points that failed.
        front: Keys of the Pareto front.
    """

    rows: list[dict[str, str]]
    files: list[Path]
    evaluated: int
    failed: list[dict[str, str]] = field(repr=False)
    front: list[str] = field(repr=False)


class _Groups:
    """Points that go to a worker together.

    Args:
        points: All.
        adapt: Make groups as large as workers are fast; else each point is one.
    """

    def __init__(self, points: Sequence[Point], adapt: bool):
        self._points = points
        self._adapt = adapt
        self._size = _FIRST if adapt else 1
        self._begun = 0

    def following(self, workers: int) -> list[Point]:
        """The next group, an empty one at the end; the last ones are shared by all workers."""
        left = len(self._points) - self._begun
        size = min(self._size, max(1, left // (2 * workers)))
        group = list(self._points[self._begun : self._begun + size])
        self._begun += len(group)
        return group

    def took(self, rows: Rows) -> None:
        """What a worker has returned for a group."""
        seconds = sum(row.get("seconds", 0.0) for row in rows)
        if self._adapt and seconds > 0:
            self._size = max(1, min(_MOST, round(_BUSY / seconds * len(rows))))


def _jobs(points: Sequence[Point]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(point.key, dict(point.job)) for point in points]


def _dask(
    points: Sequence[Point],
    evaluate: Callable[..., Any],
    scheduler: str | None,
    workers: int,
    adapt: bool,
    on_warm: Callable[[], None] | None,
) -> Iterator[Rows]:
    """Results as they come.

    A worker that dies takes its task with it; the scheduler gives the task to another one. A task
    that was running when two workers died is given up: its points are tried one by one, and the one
    that kills its worker is reported.
    """
    try:
        import dask
        from distributed import Client, LocalCluster, as_completed
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise SweepError(
            "a sweep over workers needs the extra `sweep`: pip install 'npuvp[sweep]', or "
            "--workers 0 to stay in this process"
        ) from None
    dask.config.set(
        {
            "distributed.scheduler.allowed-failures": 1,
            # A worker holds the task that it runs and no other, so that its death blames no other.
            "distributed.scheduler.worker-saturation": 1.0,
            "distributed.comm.timeouts.connect": "20s",
            "distributed.admin.log-format": "%(message)s",
        }
    )
    cluster = None
    if scheduler is None:
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs="CRITICAL",
        )
    try:
        client = Client(cluster if cluster is not None else scheduler, timeout="20s")
    except (OSError, ValueError) as error:
        raise SweepError(
            f"scheduler {scheduler}: {error} (an address is such as tcp://10.0.0.7:8786)"
        ) from None
    try:
        client.wait_for_workers(max(1, workers if cluster is not None else 1))
        if on_warm is not None:
            on_warm()
        # No more tasks than the workers can take soon: the others need no memory yet.
        waiting = _Groups(points, adapt)
        present = max(1, len(client.scheduler_info()["workers"]), workers)
        tasks: dict[Any, list[Point]] = {}

        def submit(group: list[Point]) -> Any:
            future = client.submit(guarded, evaluate, _jobs(group), pure=False)
            tasks[future.key] = group
            return future

        first = (waiting.following(present) for _ in range(4 * present))
        completed = as_completed([submit(group) for group in first if group])
        for future in completed:
            group = tasks.pop(future.key)
            try:
                rows = future.result()
                waiting.took(rows)
                yield rows
            except KilledWorker:
                if len(group) > 1:
                    for point in group:
                        completed.add(submit([point]))
                else:
                    yield [
                        {
                            "key": group[0].key,
                            "status": "killed",
                            "error": "the workers that ran this point died",
                        }
                    ]
            if following := waiting.following(present):
                completed.add(submit(following))
    finally:
        client.close()
        if cluster is not None:
            cluster.close()


def run_sweep(
    space: Space,
    output: str | Path,
    *,
    scheduler: str | None = None,
    workers: int = 1,
    progress: bool | None = None,
    retry_failed: bool = False,
    evaluate: Callable[[Mapping[str, Any]], Mapping[str, float]] = evaluate_job,
    on_warm: Callable[[], None] | None = None,
) -> SweepResult:
    """Evaluates the points of a space that are not on disk yet.

    Args:
        space: The design space.
        output: ``.csv``, or ``.parquet`` (needs pyarrow): results stream to the CSV file beside it,
            which is turned into Parquet at the end.
        scheduler: Address of a Dask scheduler; None: a local cluster.
        workers: Processes of the local cluster; 0: this process, without Dask.
        progress: Show a bar; None: where standard error is a terminal.
        retry_failed: Evaluate anew what failed in an earlier run.
        evaluate: What evaluates a job.
        on_warm: Called when the workers are there, before the first point.

    Raises:
        SpaceError: No point satisfies the constraints.
        StoreError: The file is another sweep's, or is being written.
        SweepError: No Dask, no scheduler at the address, or another ending of `output`.
    """
    output = Path(output)
    if output.suffix not in (".csv", ".parquet"):
        raise SweepError(f"output {output}: ends in {output.suffix!r} (allowed: .csv, .parquet)")
    if output.suffix == ".parquet":
        _parquet()
    if workers < 0:
        raise SweepError(f"workers {workers} (allowed: 0 and more)")
    points = space.points()
    keys = [axis.key for axis in space.axes]
    columns = ["key", "status", *keys, *METRICS, "seconds", "error"]
    by_key = {point.key: point for point in points}
    journal = output.with_suffix(".csv")
    evaluated = 0
    with Store(journal, columns) as store:
        found = store.rows
        left = [
            point
            for point in points
            if point.key not in found or (retry_failed and found[point.key]["status"] != "ok")
        ]
        adapt = space.base["mode"] == "analytical"
        batches: Iterator[Rows]
        if workers == 0 and scheduler is None:
            batches = (guarded(evaluate, _jobs([point])) for point in left)
        else:
            batches = (
                _dask(left, evaluate, scheduler, workers, adapt, on_warm) if left else iter(())
            )
        disable = None if progress is None else not progress
        with tqdm(
            total=len(points),
            initial=len(points) - len(left),
            unit=" points",
            disable=disable,
            file=sys.stderr,
        ) as bar:
            for rows in batches:
                store.append(*({**by_key[row["key"]].values, **row} for row in rows))
                evaluated += len(rows)
                bar.update(len(rows))
        rows_in_order = [store.rows[point.key] for point in points]
    files = [journal]
    if output.suffix == ".parquet":
        csv, parquet = _parquet()
        parquet.write_table(csv.read_csv(journal), output)
        files.append(output)
    good = [
        row
        for point, row in zip(points, rows_in_order, strict=True)
        if row["status"] == "ok"
        and space.allows(point.values, {name: float(row[name]) for name in METRICS})
    ]
    front: list[str] = []
    if good:
        import numpy as np

        costs = np.array(
            [[float(row[name]) for name in ("time_s", "energy_j", "area_mm2")] for row in good]
        )
        on_front = pareto_front(costs)
        front = [row["key"] for row, is_front in zip(good, on_front, strict=True) if is_front]
        labels = [", ".join(f"{k.rsplit('.', 1)[-1]}={row[k]}" for k in keys) for row in good]
        picture = output.with_suffix(".png")
        plot_pareto(picture, costs[:, 0], costs[:, 1], costs[:, 2], labels, space.path.stem)  # type: ignore[arg-type]
        files.append(picture)
    failed = [row for row in rows_in_order if row["status"] != "ok"]
    return SweepResult(rows_in_order, files, evaluated, failed, front)


def _parquet() -> tuple[Any, Any]:
    try:
        from pyarrow import csv, parquet
    except ImportError:
        raise SweepError("output: Parquet needs pyarrow (allowed without it: .csv)") from None
    return csv, parquet
