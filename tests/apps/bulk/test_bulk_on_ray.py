"""Slices predicted on a local Ray cluster are the same as those of one process."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import PIL.Image
import pytest

from made import write_broken, write_video
from messages import prints
from run_folders import make_run, table, write_manifest, write_media
from texthead.apps.bulk.bulk import Slice, SliceOptions, State, open_slices, predict_slices
from texthead.apps.bulk.bulk_on_ray import predict_on_ray
from texthead.data.protocol import Views
from texthead.errors import MediaError, RunError
from texthead.runs.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("model") / "run")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_manifest(write_media(tmp_path_factory.mktemp("media")))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A local Ray cluster with two CPUs."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_one_line(
    run: Run, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Must run before the tests that start a cluster, which this one would use."""
    pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setenv("RAY_ADDRESS", "nowhere")
    with pytest.raises(RunError, match="nowhere.*RAY_ADDRESS"):
        predict_on_ray(open_slices(run, manifest, tmp_path / "out"))


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_cluster_makes_the_same_slices(run: Run, manifest: Path, tmp_path: Path) -> None:
    made: list[Slice] = []
    protocol, options = replace(run.protocol, views=Views(2, 3)), SliceOptions(4, scores=True, batch=3)
    alone, ours = (open_slices(run, manifest, tmp_path / name, protocol, options) for name in ("alone", "ours"))
    predict_slices(alone)
    predict_slices(ours, rank=1, ranks=3)
    before = (tmp_path / "ours" / "slice-000001.csv").stat().st_mtime_ns
    assert predict_on_ray(ours, actors=2, done=made.append) == State(3, 3, 11, 0)
    assert sorted(made) == [Slice(0, 4, 0), Slice(2, 3, 0)], "a finished slice is left alone"
    assert (tmp_path / "ours" / "slice-000001.csv").stat().st_mtime_ns == before
    for path in (tmp_path / "alone").glob("slice-*"):
        assert (tmp_path / "ours" / path.name).read_bytes() == path.read_bytes(), path.name
    assert predict_on_ray(ours, actors=2) == State(3, 3, 11, 0), "nothing is left to do"


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_an_actor_that_is_killed_is_replaced(run: Run, manifest: Path, tmp_path: Path) -> None:
    alone, ours = (
        open_slices(run, manifest, tmp_path / name, run.protocol, SliceOptions(2, batch=1))
        for name in ("alone", "ours")
    )
    predict_slices(alone)
    killed: list[int] = []

    def kill(_: Slice) -> None:
        """Kill the encoding process, once."""
        for words in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if not killed and words.read_bytes().startswith(b"ray::MapWorker"):
                    killed.append(int(words.parent.name))
                    os.kill(killed[0], signal.SIGKILL)

    assert predict_on_ray(ours, done=kill) == State(6, 6, 11, 0)
    assert killed
    assert table(tmp_path / "ours") == table(tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_unreadable_files_on_a_cluster(run: Run, tmp_path: Path) -> None:
    good, broken = write_video(tmp_path / "good.mp4", "red"), write_broken(tmp_path / "broken.mp4")
    (tmp_path / "a.txt").write_text(f"{good}\n{good}\n{good}\n{broken}\n{broken}\n{tmp_path}/gone.mp4\n")
    alone, ours = (
        open_slices(run, tmp_path / "a.txt", tmp_path / name, options=SliceOptions(2, batch=2))
        for name in ("alone", "ours")
    )
    with pytest.raises(MediaError, match=r"(broken|gone)\.mp4: .*skip_unreadable"):
        predict_on_ray(ours)
    assert ours.state().unreadable == 0
    assert predict_slices(alone, skip_unreadable=True) == predict_on_ray(ours, skip_unreadable=True)
    assert ours.state() == State(3, 3, 6, 3)
    assert table(tmp_path / "ours") == table(tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_the_command_on_a_cluster(
    run: Run, manifest: Path, tmp_path: Path, say: Callable[..., tuple[int, str, str]]
) -> None:
    command = ["bulk", run.folder, manifest, "--slice", 4, "--workers", 0]
    predict_slices(open_slices(run, manifest, tmp_path / "alone", options=SliceOptions(4)))
    code, out, _ = say(*command, "--out", tmp_path / "ours", "--ray", 1)
    assert code == 0
    prints(out, tmp_path / "ours", "3 of 3", "11 files")
    assert table(tmp_path / "ours") == table(tmp_path / "alone")


def test_without_ray_the_remedy_is_its_package(
    run: Run, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RunError, match=r'pip install "texthead\[ray\]"'):
        predict_on_ray(open_slices(run, manifest, tmp_path / "out"))


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_actors_use_the_memory_limit_of_this_process(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PIL.Image.new("RGB", (1000, 1000), "red").save(tmp_path / "large.png")
    (tmp_path / "large.csv").write_text("path\nlarge.png\n")
    monkeypatch.setenv("TEXTHEAD_MAX_MEGAPIXELS", "1")
    with pytest.raises(MediaError, match="the limit is 1"):
        predict_on_ray(open_slices(run, tmp_path / "large.csv", tmp_path / "out"))
