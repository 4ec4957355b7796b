"""Calibration of a run: fitted by calibrate, used by predict (also in parts) and eval."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import texthead as th
from made import PIXELS, tiny_visual
from messages import prints
from texthead import MeanPool, Recognizer, load_run
from texthead.apps.classes.class_edits import rename_class
from texthead.cli import main as cli
from texthead.data.reading import read_dataset
from texthead.evaluation import calibration
from texthead.models.heads import FrozenHead
from texthead.recipes import Recipe
from texthead.runs import write_run
from texthead.text import ClassTree
from texthead.training.start import split_json

PROTOCOL = th.Protocol(1, PIXELS)
KNOWN = ["sea", "grass", "fire"]
HUES = {"sea": (30, 60, 200), "grass": (50, 180, 60), "fire": (220, 70, 30), "sand": (215, 190, 120)}


def picture(path: Path, label: str, seed: int) -> None:
    """Write a patch of the class's colour with strong noise, so that classes are sometimes confused."""
    generator = np.random.default_rng([seed, *label.encode()])
    coarse = generator.normal(0, 55, (8, 8, 3)).repeat(6, 0).repeat(6, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.array(HUES[label]) + coarse).clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest: sea, grass and fire have 4 train, 14 val and 14 test items each; sand has 22 val items."""
    root = tmp_path_factory.mktemp("sure")
    rows = ["path,label,split"]
    for label in HUES:
        sizes = {"val": 22} if label == "sand" else {"train": 4, "val": 14, "test": 14}
        for split, count in sizes.items():
            for i in range(count):
                picture(root / label / f"{split}{i}.png", label, 100 * len(split) + i)
                rows.append(f"{label}/{split}{i}.png,{label},{split}")
    (root / "items.csv").write_text("\n".join(rows) + "\n")
    (root / "known.csv").write_text("\n".join(row for row in rows if "sand" not in row) + "\n")
    return root / "items.csv"


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An overconfident run of sea, grass and fire whose rows are the class means of the training items."""
    train = th.read_dataset(data).split("train")
    visual = tiny_visual()
    features = th.FrozenEncoder(th.Encoder(visual, None, scale=1.0), PROTOCOL).items(train).features
    center, names = features.mean(0), train.classes
    rows = [F.normalize(features[[label == name for label in train.labels]] - center, dim=-1).mean(0) for name in names]
    head = FrozenHead(torch.stack(rows), names=names, scale=40.0, center=center, kind="text", prompts=names)
    out = tmp_path_factory.mktemp("trained") / "run"
    recipe = Recipe(name="test", frames=1, size=32, resize=36)
    write_run(out, Recognizer(visual, MeanPool(), head), recipe, PIXELS, names, split_json(train, None))
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, not calibrated."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="module")
def sure(trained: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = Path(shutil.copytree(trained, tmp_path_factory.mktemp("calibrated") / "run"))
    assert cli.main(["calibrate", str(out), str(data), "--workers", "0", "--false-accept", "0.1"]) == 0
    return out


@pytest.fixture
def calibrated(sure: Path, tmp_path: Path) -> Path:
    """A copy of the calibrated run."""
    return Path(shutil.copytree(sure, tmp_path / "run"))


def test_calibrate_counts_classes_as_the_run_assumes(run, data):
    """Equal shares, but 4 items of sea and 14 of the two others."""
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["recipe"]["class_shares"] = "equal"
    (run / "recipe.json").write_text(json.dumps(recipe))
    known = th.read_dataset(data).split("val").with_classes(KNOWN)
    sea = [index for index, label in enumerate(known.labels) if label == "sea"]
    items = known.select([index for index in range(len(known)) if index not in sea[4:]])
    made = load_run(run).calibrate(items, reading=th.ReadOptions(workers=0))
    prints(made.lines[0], "class_shares", "equal", "4 to 14", 32, 12)
    weights = torch.where(made.targets == list(load_run(run).labels).index("sea"), 14.0, 4.0)
    assert made.calibration.temperature == pytest.approx(
        calibration.fit_temperature(made.scores, made.targets, weights), rel=1e-6
    )
    assert made.calibration.temperature != pytest.approx(
        calibration.fit_temperature(made.scores, made.targets), rel=1e-3
    )
    # The 14 items of another class are one group: it counts as much as the four of sea, and the sets need more groups.
    grouped = [replace(item, group="one" if item.label == known.classes[0] else None) for item in items.items]
    assert known.classes[0] != "sea"
    made = load_run(run).calibrate(replace(items, items=tuple(grouped)), reading=th.ReadOptions(workers=0))
    prints(made.lines[0], "4 to 14", "worth 3")


@pytest.mark.slow
def test_what_is_fitted_is_printed_with_its_cost(run, data, works, refused, tmp_path):
    known, sand = data.parent / "known.csv", write_sand(data, tmp_path)
    out, err = works("calibrate", run, data, "--workers", 0, "--verbose")
    made = load_run(run).calibration
    assert (made.items, made.threshold.unknown_items, len(made.content)) == (42, 22, 64)
    prints(err, 42, "val", "3 of", "3 classes")
    prints(out, f"temperature {made.temperature:.3g}", "calibration error")
    prints(out, f"{made.threshold.probability:.3f}", "5 %", "22 unknown items:")
    prints(out, "the threshold rejects", "57.1 %")
    # Unknown items come from the data or from a folder; the same ones count once, and without any is no threshold.
    _, err = works("calibrate", run, data, "--workers", 0, "--unknown", sand)
    prints(err, "22 unknown", "sand")
    prints(err, "copies of other items: 22")
    out, err = works("calibrate", run, known, "--workers", 0, "--views", "1x3")
    assert f"next: texthead eval {run} {known} --views 1x3" in err
    assert f"next: texthead predict {run} " in works("calibrate", run, known, "--workers", 0, "--split", "test")[1]
    prints(out, "threshold", "unknown")
    assert load_run(run).calibration.threshold is None
    # Too few items for what is promised.
    out, _ = works("calibrate", run, data, "--workers", 0, "--false-accept", 0.02, "--coverage", 0.99)
    prints(out, "2 %", 49, 22, "--false-accept 0.044")
    prints(out, "99 %", 99, 42)
    assert (load_run(run).calibration.threshold, load_run(run).calibration.coverage) == (None, None)


def write_sand(data: Path, folder: Path) -> Path:
    """Write a folder with copies of only the sand items."""
    shutil.copytree(data.parent / "sand", folder / "only" / "sand")
    return folder / "only"


def test_classes_without_an_item_get_no_promise(run, data, works, tmp_path):
    shutil.copytree(data.parent / "sea", tmp_path / "some" / "sea", ignore=shutil.ignore_patterns("train*"))
    out, err = works("calibrate", run, tmp_path / "some", "--workers", 0, "--verbose")
    prints(err, 28, "1 of", "3 classes")
    prints(err, "note: ", "fire, grass")
    prints(out, "90 %", "classes on average")


def test_unknown_items_beside_the_held_out_ones_count(run, data, works, tmp_path):
    """In data without splits: 14 test items of each class are new, and all 22 of sand are unknown."""
    items = th.read_dataset(data)
    split = split_json(items.split("train"), items.split("val").with_classes(KNOWN))
    (run / "split.json").write_text(json.dumps(split))
    rows = [f"{item.path},{item.label}" for item in items.items]
    (tmp_path / "all.csv").write_text("\n".join(["path,label", *rows]))
    out, err = works("calibrate", run, tmp_path / "all.csv", "--workers", 0)
    prints(out, "on 42 items (held-out")
    prints(out, "22 unknown items")
    prints(err, "not used", "42 new items")
    # The held-out items stay what they are, and are not training items that --k left out.
    err = works("calibrate", run, tmp_path / "all.csv", "--split", "train", "--workers", 0, "--verbose")[1]
    prints(err, "42 items (train, not drawn)")


def test_training_items_that_were_not_drawn_can_be_calibrated_on(run, data, works):
    """As after `train --k`, only some items of the split were trained on; the other sea items share their group."""
    split = json.loads((run / "split.json").read_text())
    few = [place for place, path in enumerate(split["train"]) if int(Path(path).stem.removeprefix("train")) < 2]
    for key in ("train", "train_labels", "train_content", "train_groups"):
        split[key] = [split[key][place] for place in few]
    (run / "split.json").write_text(json.dumps(split))
    head, *rows = data.read_text().splitlines()
    grouped = data.parent / "grouped.csv"
    lines = [f"{row},{'scene' if row.startswith('sea/') else f'scene {place}'}" for place, row in enumerate(rows)]
    grouped.write_text("\n".join([f"{head},group", *lines]) + "\n")
    _, err = works("calibrate", run, grouped, "--split", "train", "--workers", 0, "--verbose")
    train = th.read_dataset(data).split("train").with_classes(KNOWN)
    left = len(train) - len(few)
    prints(err, f"{left} items", "train", "3 of")
    prints(err, f"note: {train.labels.count('sea') - split['train_labels'].count('sea')} of", left)
    assert load_run(run).calibration.items == left


def test_calibrate_refuses_what_the_run_has_seen(run, data, refused, tmp_path):
    before = sorted(path.name for path in run.iterdir())
    copies = tmp_path / "copies" / "sea"
    copies.mkdir(parents=True)
    for i in range(2):
        shutil.copy(data.parent / "sea" / f"train{i}.png", copies / f"other{i}.png")
        shutil.copy(data.parent / "sea" / f"test{i}.png", copies / f"test{i}.png")
    others = ("--unknown", copies.parent, "--workers", 0)
    refused("2 of 4", "calibrate", run, copies.parent, "--workers", 0)
    refused(("unknown", 4, "'sea'"), "calibrate", run, data, *others)
    copies.rename(copies.with_name("lake"))
    refused(("unknown", 2, copies.with_name("lake") / "other0.png"), "calibrate", run, data, *others)
    refused(("train", 12), "calibrate", run, data, "--split", "train")
    for split in ("train", "test"):
        refused((f"'{split}' without data", data, "held-out"), "calibrate", run, "--split", split)
    refused(("coverage", 90), "calibrate", run, data, "--coverage", 90)
    refused((tmp_path / "only", 22), "calibrate", run, write_sand(data, tmp_path), "--workers", 0)
    assert sorted(path.name for path in run.iterdir()) == before


def test_predict_rejects_below_threshold(calibrated, data, works):
    files = [data.parent / "sand", data.parent / "grass"]
    entries = json.loads(works("predict", calibrated, *files, "--json", "--workers", 0)[0])
    made = load_run(calibrated).calibration
    answers = [entry["answer"] for entry in entries]
    best = [entry["top"][0] for entry in entries]
    assert answers == [each["name"] if each["probability"] > made.threshold.probability else None for each in best]
    # The 22 sand items set the threshold at 10 %; all but the best are rejected, since ceil(23 x 0.9) is 21.
    assert answers[:22].count(None) == 21
    assert {entry["temperature"] for entry in entries} == {made.temperature}
    out, err = works("predict", calibrated, files[0], "--workers", 0)
    assert out.count(calibration.NONE) == 21
    temperature = f"{made.temperature:.3g}"
    prints(err, "note: ", f"temperature {temperature}", 42)


def test_the_edit_of_a_calibrated_run_is_noted(calibrated, data, works, refused, tmp_path):
    item, edited = data.parent / "fire" / "val0.png", tmp_path / "edited"
    predict, run = ("predict", edited, item, "--workers", 0), load_run(calibrated)
    assert rename_class(run, "sea", "lake").calibration_for(run.protocol) == (run.calibration, None)  # The same rows.
    _, err = works("classes", calibrated, "remove", "sea", "--out", edited)
    prints(err, "calibration.json")
    out, err = works(*predict, "--json")
    assert "answer" not in json.loads(out)[0]
    temperature = f"{load_run(edited).calibration.temperature:.3g}"
    prints(err, "note: ", f"temperature {temperature}", "classes")
    refused("texthead calibrate", *predict, "--sets")
    works("calibrate", edited, data, "--workers", 0)
    assert "set" in json.loads(works(*predict, "--json", "--sets")[0])[0]


@pytest.fixture
def tree(tmp_path: Path, data: Path) -> Path:
    (tmp_path / "data.yaml").write_text(f"list: {data}\ntree: {{cool: [sea, grass, sand]}}\n")
    return tmp_path / "data.yaml"


def test_copies_are_not_independent_items(run, data, tmp_path):
    plan = load_run(run).calibration_items(read_dataset(data))
    doubled = [
        replace(item, path=Path(shutil.copy(item.path, tmp_path / f"{i}.png")))
        for i, item in enumerate(plan.items.items)
    ]
    again = load_run(run).calibration_items(replace(plan.items, items=(*plan.items.items, *doubled)))
    assert (len(again.items), again.copies) == (len(plan.items), len(plan.items))
    # Unknown items need not have the same label.
    others = replace(plan.unknown, items=tuple(item.renamed({"sand": "beach"}) for item in plan.unknown.items))
    again = load_run(run).calibration_items(read_dataset(data), others)
    assert (len(again.unknown), again.copies) == (22, 22)


def test_calibrate_keeps_a_tree_which_gives_broader_names(run, data, tree, works, refused):
    """Sand has a place in the tree, so that "cool" is a right answer for it, and broader names need less."""
    out, _ = works("calibrate", run, tree, "--workers", 0, "--wrong", 0.1, "--false-accept", 0.2)
    prints(out, "at most 10 % wrong answers to new items", "at most 20 % to unknown ones")
    loaded = load_run(run)
    assert loaded.tree.above == {"sea": ("cool",), "grass": ("cool",), "sand": ("cool",), "fire": ()}
    level = loaded.calibration.level
    assert (level.wrong, level.broader, level.false_accept, level.unknown_items) == (0.1, {"cool": [1, 2]}, 0.2, 22)
    assert loaded.with_tree(loaded.tree).calibration.level == level
    assert loaded.with_tree(ClassTree({"sea": ("wet",), "fire": ("wet",)})).calibration.level is None
    files = [data.parent / label for label in ("sea", "fire", "sand")]
    entries = json.loads(works("predict", run, *files, "--json", "--workers", 0)[0])
    assert {entry["answer"] for entry in entries} > {"sea", "cool", None}
    out = works("predict", run, files[0], "--workers", 0)[0]
    assert out.count("% cool (best: ") == sum(entry["answer"] == "cool" for entry in entries[:32])
    works("classes", run, "rename", "sea", "ocean", "--out", run.parent / "renamed")
    assert load_run(run.parent / "renamed").tree.ancestors("ocean") == ("cool",)
    refused("'cool' is a class and a superclass", "classes", run, "rename", "sea", "cool", "--out", run.parent / "no")
    refused("wrong", "calibrate", run, data, "--wrong", 5)


def test_a_threshold_without_a_level_decides_although_there_is_a_tree(calibrated, data, tree) -> None:
    """The tree may come with other data: answers at 0.9 would be given to files that the threshold rejects."""
    run = load_run(calibrated).with_tree(read_dataset(tree).tree)
    assert (run.usual_level(None), run.usual_level(run.calibration)) == (0.9, None)
    scores = run.evaluate(read_dataset(data).split("test"))
    assert [line for line in scores.lines if line.startswith("none of these: the threshold rejects")]
    assert scores.answers is None


def test_a_tree_without_a_broader_name_that_tells_changes_no_answer(run, data) -> None:
    """As a note says when the tree is read: all classes are below its only name."""
    known = read_dataset(data).split("val").with_classes(KNOWN)
    plain = load_run(run).calibrate(known).calibration
    tree = ClassTree(dict.fromkeys(KNOWN, ("place",)))
    assert any("changes no answer" in note for note in known.with_tree(tree).notes)
    below = load_run(run).with_tree(tree)
    assert below.usual_level(None) is None
    made = below.calibrate(known)
    assert (made.calibration, made.lines) == (plain, load_run(run).calibrate(known).lines)


def test_answers_reach_a_given_probability(run, data, tree, works, refused):
    """Without a tree, the best class or none of these; eval counts the answers of each kind."""
    arguments = ("predict", run, data.parent / "sea", "--workers", 0, "--json", "--at-least", 0.999)
    entries = json.loads(works(*arguments)[0])
    assert {entry["answer"] for entry in entries} >= {"sea", None}
    for best, answer in ((entry["top"][0], entry["answer"]) for entry in entries):
        assert (best["probability"] >= 0.999) == (answer == best["name"])
    how = ("--split", "val", "--workers", 0, "--json")
    scored = ("eval", run, data.parent / "known.csv", *how)
    assert json.loads(works(*scored)[0])["answers"] is None
    prints(works(*scored[:-1], "--at-least", 0.6)[0], "answers that reach 0.6")
    tree.write_text(tree.read_text().replace(str(data), str(data.parent / "known.csv")))
    answered = json.loads(works("eval", run, tree, *how, "--at-least", 0.95)[0])["answers"]
    kinds = {row["answer"]: row for row in answered["rows"]}
    assert kinds["class"]["items"] + kinds["broader name"]["items"] + kinds[calibration.NONE]["items"] == 42
    assert kinds["correct answer"]["items"] <= kinds["any answer"]["items"]
    assert kinds["broader name"]["items"] > 0
    refused(("--at-least", 90), *arguments[:-1], 90)
