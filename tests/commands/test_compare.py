"""`texthead compare` on real files."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

import texthead as th
from made import colour_encoder
from messages import prints
from text_models import bert
from worlds import split_colours

SMALL = ("--workers", 0)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return split_colours(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def compare(works, cache: Path) -> Callable[..., tuple[str, str]]:
    """Return a function that runs a comparison that must succeed and returns (standard output, standard error)."""
    return lambda *arguments: works("compare", *arguments, "--verbose", *SMALL)


def test_a_loaded_encoder_and_its_template(images: Path) -> None:
    encoder = th.EncoderOptions(colour_encoder(), template="a {} square")
    options = {"k": 2, "overrides": {"seed": 1}, "reading": th.ReadOptions()}
    scores = th.compare(th.read_dataset(images), encoder, **options)
    plan, draw = scores.experiment, [item.path.name for item in scores.experiment.division.train.items]
    assert (plan.prompts[0], plan.recipe.seed) == ("a blue square", 1)
    assert scores.tested["text-probe"].top1 > 50
    plan = th.compare(th.read_dataset(images), encoder.source, k=2, reading=th.ReadOptions()).experiment
    assert plan.prompts[0] == "blue"
    assert draw != [item.path.name for item in plan.division.train.items], "seed 0"


def test_copies_are_noted_unless_they_share_a_group(images: Path, tmp_path: Path) -> None:
    data = th.read_dataset(images)
    first, *others = data.items
    copied = replace(first, path=Path(shutil.copy(first.path, tmp_path / "copy.png")))
    for group, lines in ((None, ["2 of 28 items are copies of one another"]), ("scene", [])):
        items = tuple(replace(item, group=group) for item in (first, copied)) + tuple(others)
        scores = th.compare(replace(data, items=items), colour_encoder(), reading=th.ReadOptions())
        assert [line.split(",")[0] for line in scores.lines if "copies" in line] == lines


def test_each_method_is_cross_validated_and_scored(images, compare, monkeypatch):
    out, err = compare(images)
    prints(err, 15, 3, 12, "test")
    methods = ["text-probe", "probe", "zero-shot", "zero-shot-centered"]
    prints(out, "text-probe: ", "12 test images are correct")
    prints(out, "in cross-validation", "5 folds")
    assert f"texthead train {images} --out run" in err
    table = out.splitlines()[2:]
    assert max(map(len, table)) <= 80
    assert table[0].split() == ["top-1", "%", "(95", "%", "CI)", "cross-validated", "test", "uses"]
    assert [line.split()[0] for line in table[1:]] == methods


def test_one_item_per_class_is_not_cross_validated(images, compare):
    train = images.with_name("train.csv")
    train.write_text("".join(row for row in images.read_text().splitlines(keepends=True) if "test" not in row))
    out, _ = compare(train, "--k", 1)
    prints(out, "not cross-validated", 2)
    assert {each["cross_validated"] for each in json.loads(compare(train, "--k", 1, "--json")[0])["methods"]} == {None}
    # Two items per class are enough for two folds.
    prints(compare(train, "--k", 2)[0], "2 folds of 6 images")


def test_an_encoder_without_text_has_only_the_probe(images, compare, refused, tmp_path):
    torch.manual_seed(0)
    net = timm.create_model("test_efficientnet", pretrained=False)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    source = f"timm:test_efficientnet/{tmp_path / 'net.safetensors'}"
    items, rows = images.parent / "with_val.csv", images.read_text().splitlines()
    # Three training items per class give three folds instead of five.
    rows = [row for row in rows if "3.png" not in row and "4.png" not in row]
    items.write_text("\n".join(row.replace(",test", ",val") if "8.png" in row else row for row in rows))
    out, err = compare(items, "--encoder", source, "--verbose")
    prints(err, "9 training", 3, "9 test")
    prints(err, "note: ", "3 val")
    assert "zero-shot" not in out
    assert "text" not in out
    prints(out, "probe ", "labels only")
    assert "text-probe" in compare(items, "--encoder", source, "--text", bert(tmp_path / "bert", 16))[0]
    refused((source, "text", "linear"), "train", items, "--encoder", source, "--tune", "all", "--out", tmp_path / "run")
