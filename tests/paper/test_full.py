"""Full-scale rows on tiny data sets in the expected layout, with a small CLIP."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from made import write_image, write_video
from messages import refuses
from paper import data, fit, tinyclip, worlds
from paper.alone import launched
from paper.data import Runtime
from paper.fit import share
from paper.rows import Job
from texthead.errors import DataError, RunError

pytestmark = pytest.mark.nightly("paper")

NAMES = ("blue", "green", "red")


def lists(folder: Path) -> Path:
    """Write a data set with published-style lists: two training videos and one validation video per class."""
    for split, seeds in (("train", (0, 1)), ("val", (2,))):
        listed(folder, f"{split}.txt", NAMES, seeds)
    labels(folder / "labels.csv", NAMES)
    return folder


def listed(folder: Path, file: str, names: Iterable[str], seeds: Iterable[int]) -> None:
    """Write a video for each class and seed, and their list."""
    lines = [(f"{name}{seed}.mp4", label, seed) for label, name in enumerate(names) for seed in seeds]
    for path, label, seed in lines:
        write_video(folder / "videos" / path, NAMES[label], seed=seed)
    (folder / file).write_text("".join(f"{path} {label}\n" for path, label, _ in lines))


def labels(file: Path, names: Iterable[str]) -> None:
    file.write_text("id,name\n" + "".join(f"{i},{name}\n" for i, name in enumerate(names)))


@pytest.fixture(scope="module")
def runtime(tmp_path_factory) -> Runtime:
    root = tmp_path_factory.mktemp("data")
    for name in ("k400", "ucf101"):
        lists(root / name)
    listed(root / "ucf101", "full.txt", NAMES, (0, 1, 2))
    for split, names in enumerate((("navy", "rose"), ("navy", "lime"), ("pink", "rose")), 1):
        listed(root / "k600", f"test_split{split}.txt", names, range(split))
        labels(root / "k600" / f"labels_split{split}.csv", names)
    for split, seed in (("train", 0), ("val", 1)):
        for wnid, colour in (("n01440764", "red"), ("n01443537", "blue")):
            write_image(root / "imagenet" / split / wnid / f"a{seed}.JPEG", colour, seed)
    return Runtime("full", root, tmp_path_factory.mktemp("kept"), accumulate=2)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> str:
    return f"openclip:local-dir:{tinyclip.pretrain('vit', tmp_path_factory.mktemp('vit') / 'clip', steps=2)}"


@pytest.mark.parametrize(
    "row",
    [
        worlds.KINETICS,
        replace(worlds.KINETICS_MEAN, scored="ucf101-full"),
        replace(worlds.KINETICS_MEAN, k=1, full_length=True),
        replace(worlds.IMAGENET, views=("1x1", "1x3")),
    ],
)
def test_a_row_of_the_paper_s_own_setting_runs(runtime, encoder, row):
    result = fit.fit(Job("row", 0, replace(row, encoder=encoder).changed(epochs=1, frames=2)), runtime)
    assert result["count"] == len(data.test_items(data.read(row.scored or row.data, runtime)))
    assert result["steps"] == result["epochs"] == 1
    assert result["items"] == (6 if row.data == "k400" else 2)


def test_kinetics_600_is_three_splits_of_one_model(runtime, encoder):
    row = replace(worlds.KINETICS, encoder=encoder, zero_shot=data.K600).changed(epochs=1, frames=2)
    result = fit.fit(Job("row", 0, row), runtime)
    assert result["count"] == 3
    assert [(name, split["count"], split["classes"]) for name, split in result["zero_shot"].items()] == [
        ("k600-1", 2, 2),
        ("k600-2", 4, 2),
        ("k600-3", 6, 2),
    ]
    with refuses(DataError, "ucf101-full", 3, "k400", "blue"):
        fit.fit(Job("row", 0, replace(row, zero_shot=("ucf101-full",))), runtime)


@pytest.mark.parametrize("both", [True, False])
def test_a_matching_row_runs_under_torchrun_on_all_processes(runtime, encoder, both):
    """Table 6 without gather: a pass compares the clips of one of eight processes, here in four passes."""
    options = {"matching": "multi_positive", "gather": both, "online": both, "processes": 8, "alone": True}
    row = replace(worlds.KINETICS, encoder=encoder, **options)
    row = row.changed(epochs=1, frames=2, grad_checkpointing=False)
    two = replace(runtime, accumulate=1, processes=2)
    result, seconds = launched(Job("row", 0, row), two)
    assert (result["steps"], result["items"], result["count"]) == (1, 6, 3)
    assert result["peak_mb"] > 100
    assert 0 < result["step_seconds"] < seconds
    assert share(row, two) == (1 if both else 4)
    assert share(replace(row, matching=None), replace(two, accumulate=3)) == 3
    with refuses(RunError, 3, 8):
        share(replace(row, gather=False), replace(two, processes=3))
    with refuses(RunError, "a row", "seed 0"):
        launched(Job("a row", 0, replace(row, encoder="openclip:local-dir:/none")), two)
