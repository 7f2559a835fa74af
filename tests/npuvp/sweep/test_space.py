"""Design spaces: what they read, sample and refuse."""

from pathlib import Path

import pytest

from npuvp.sweep import SpaceError, evaluate_job, load_space

PLATFORM = Path("platform/edge.yaml").resolve()
HEAD = f"""
model: llada-tiny
platform: {PLATFORM}
plan: {{gen_length: 16, block_length: 8, steps: 8}}
"""


def _space(tmp_path: Path, text: str):
    path = tmp_path / "space.yaml"
    path.write_text(HEAD + text)
    return load_space(path)


def test_grid_is_the_product_under_its_constraints(tmp_path):
    space = _space(
        tmp_path,
        """
space:
  platform.core.vlen: {from: 64, to: 256, scale: power_of_two}
  plan.block_length: [4, 8]
  batch: [1, 2]
constraints: ["batch == 1 or platform.core.vlen < 256"]
""",
    )
    points = space.points()
    assert len(points) == 3 * 2 * 2 - 2
    assert len({point.key for point in points}) == len(points)
    assert points[0].job["set"] == {"core.vlen": 64} and points[0].job["plan"]["block_length"] == 4
    assert [p.key for p in space.points()] == [p.key for p in points]


def test_what_data_decide_may_vary(tmp_path):
    text = HEAD.replace("llada-tiny", "llada-moe-tiny").replace("steps: 8", "steps: 8, factor: 1.0")
    path = tmp_path / "space.yaml"
    path.write_text(text + "space: {experts_per_tile: [2, 8], calls_per_block: [2, worst]}\n")
    cycles = [evaluate_job(point.job)["cycles"] for point in load_space(path).points()]
    assert len(cycles) == 4 and cycles[0] < cycles[1] < cycles[3] and cycles[0] < cycles[2]


def test_key_follows_the_job_and_the_platforms_text(tmp_path):
    (tmp_path / "p.yaml").write_text(PLATFORM.read_text())
    text = HEAD.replace(str(PLATFORM), "p.yaml") + "space: {batch: [1]}\n"
    path = tmp_path / "space.yaml"
    path.write_text(text)
    key = load_space(path).points()[0].key
    assert load_space(path).points()[0].key == key
    (tmp_path / "p.yaml").write_text(PLATFORM.read_text() + "# another\n")
    assert load_space(path).points()[0].key != key


def test_latin_hypercube_has_one_point_in_every_stratum(tmp_path):
    space = _space(
        tmp_path,
        """
sample: {method: latin_hypercube, points: 40, seed: 3}
space:
  platform.hbm.bandwidth: {from: 10GB/s, to: 50GB/s}
  platform.hbm.latency: [100ns, 200ns]
""",
    )
    points = space.points()
    values = sorted(float(p.values["platform.hbm.bandwidth"].removesuffix("GB/s")) for p in points)
    assert [int(value - 10) for value in values] == list(range(40))
    latencies = [p.values["platform.hbm.latency"] for p in points]
    assert latencies.count("100ns") == 20


def test_random_points_follow_the_seed(tmp_path):
    text = "sample: {{method: random, points: 9, seed: {}}}\nspace: {{batch: {{from: 1, to: 64, scale: log}}}}\n"
    first = [p.key for p in _space(tmp_path, text.format(1)).points()]
    assert [p.key for p in _space(tmp_path, text.format(1)).points()] == first
    assert [p.key for p in _space(tmp_path, text.format(2)).points()] != first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("space: {plan.blocks: [1]}", "space.plan.blocks: unknown"),
        ("space: {batch: {from: 8, to: 2}}", "from below to"),
        ("space: {batch: {from: 2, to: 8}}", "a grid needs a list"),
        ("space: {batch: []}", "a list of numbers and texts"),
        ("spaces: {}\nspace: {batch: [1]}", "spaces: unknown key"),
        ("space: {batch: [1]}\nmode: fast", "mode: 'fast', allowed: analytical, timing"),
        ("space: {batch: [1]}\nconstraints: [prompt_length > 3]", "'prompt_length' does not vary"),
        ("space: {batch: [1]}\nconstraints: ['__import__(1)']", "Call"),
        ("space: {batch: [1]}\nsample: {method: random}", "sample.points: 0"),
        ("space: {batch: [1, 2]}\nconstraints: [batch > 2]", "no point satisfies"),
        ("space: {platform: [nowhere.yaml]}", "space.platform: 'nowhere.yaml', allowed: a file"),
        ("space: {model: [lada-8b]}", "space.model: model 'lada-8b' cannot be used"),
    ],
)
def test_faults_are_named(tmp_path, text, message):
    with pytest.raises(SpaceError, match=r"space\.yaml") as error:
        _space(tmp_path, text).points()
    assert message in str(error.value)


def test_all_faults_at_once(tmp_path):
    with pytest.raises(SpaceError) as error:
        _space(tmp_path, "space: {batch: {from: 8, to: 2}, x: [1]}\nmode: fast\nseed: 1")
    assert len(error.value.faults) == 4


def test_cores_vary(tmp_path):
    space = load_space("platform/spaces/cores.yaml")
    points = space.points()
    assert len(points) == 12 and {point.job["cores"] for point in points} == {1, 2, 3, 4}
    found = {
        point.job["cores"]: evaluate_job(point.job)["time_s"]
        for point in points
        if point.job["formats"]["weights"] == "bf16"
    }
    # Four cores may stream in step on the same banks, and then take longer than three do.
    assert max(found[4], found[3]) < found[2] < found[1] < 4 * min(found[4], found[3])
    with pytest.raises(SpaceError, match=r"space\.cores: 0, allowed: an integer of 1 or more") as e:
        _space(tmp_path, "cores: true\nspace: {cores: [0, 1, 2.5]}\n")
    assert len(e.value.faults) == 3
