"""A run that knows how sure it may be: written by calibrate, used by predict, its parts and eval."""

import csv
import io
import json
import re
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
from pages import Page
from texthead import cli
from texthead.errors import DataError, RunError
from texthead.evaluation import calibration
from texthead.media.fingerprints import fingerprint
from texthead.models.heads import FrozenHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.prediction.predict import calibration_for
from texthead.recipes import Recipe
from texthead.runs.class_edits import remove_classes, rename_class
from texthead.runs.folder import write_run
from texthead.runs.run import load_run

PROTOCOL = th.Protocol(1, PIXELS)
HUES = {"sea": (30, 60, 200), "grass": (50, 180, 60), "fire": (220, 70, 30), "sand": (215, 190, 120)}


def picture(path: Path, label: str, seed: int) -> None:
    """A patch of a class's colour under much noise: classes are mixed up at times."""
    generator = np.random.default_rng([seed, *label.encode()])
    coarse = generator.normal(0, 55, (8, 8, 3)).repeat(6, 0).repeat(6, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.array(HUES[label]) + coarse).clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest: of sea, grass and fire 4 to train, 14 for val and for test; of sand 22 for val."""
    root = tmp_path_factory.mktemp("sure")
    rows = ["path,label,split"]
    for label in HUES:
        sizes = {"val": 22} if label == "sand" else {"train": 4, "val": 14, "test": 14}
        for split, count in sizes.items():
            for i in range(count):
                picture(root / label / f"{split}{i}.png", label, 100 * len(split) + i)
                rows.append(f"{label}/{split}{i}.png,{label},{split}")
    (root / "items.csv").write_text("\n".join(rows) + "\n")
    return root / "items.csv"


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of sea, grass and fire whose rows are the means of its training items, far too sure of itself."""
    train = th.read_dataset(data).split("train")
    visual = tiny_visual()
    features = th.encode_items(visual, train, PROTOCOL)
    center, names = features.mean(0), train.classes
    rows = [F.normalize(features[[label == name for label in train.labels]] - center, dim=-1).mean(0) for name in names]
    head = FrozenHead(torch.stack(rows), names=names, scale=40.0, center=center, kind="text", prompts=names)
    paths = [str(item.path.resolve()) for item in train.items]
    split = {
        "source": "here",
        "train": paths,
        "train_labels": train.labels,
        "held_out": [],
        "held_out_labels": [],
        "train_content": [fingerprint(item.path) for item in train.items],
        "held_out_content": [],
    }
    out = tmp_path_factory.mktemp("trained") / "run"
    recipe = Recipe(name="test", frames=1, size=32, resize=36)
    write_run(out, Recognizer(visual, MeanPool(), head), recipe, PIXELS, names, split)
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, which is not calibrated."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="module")
def sure(trained: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = Path(shutil.copytree(trained, tmp_path_factory.mktemp("calibrated") / "run"))
    assert cli.main(["calibrate", str(out), str(data), "--workers", "0", "--false-accept", "0.1"]) == 0
    return out


@pytest.fixture
def calibrated(sure: Path, tmp_path: Path) -> Path:
    """A copy of the run, which is calibrated."""
    return Path(shutil.copytree(sure, tmp_path / "run"))


def test_calibrate_writes_what_the_scores_of_val_say(run, data, say):
    code, out, err = say("calibrate", run, data, "--workers", 0)
    assert code == 0
    assert "42 items (val) of 3 of the run's 3 classes" in err
    assert "22 unknown items of no class of the run: sand" in err
    assert "report no numbers on these 42 items (val)" in err
    made, whole = load_run(run).calibration, th.read_dataset(data)
    model = load_run(run).model
    known, sand = (whole.split("val").with_classes(names) for names in (["sea", "grass", "fire"], ["sand"]))
    found = th.evaluate(model, known, PROTOCOL)
    others = [dict(p.top) for p in th.predict(model, [i.path for i in sand.items], PROTOCOL)]
    assert made.temperature == pytest.approx(calibration.fit_temperature(found.scores, found.targets))
    assert made.temperature > 1.5
    assert f"temperature {made.temperature:.3g} (too sure before)" in out
    scale = 1 / made.temperature
    best = sorted(max(p.values()) ** scale / sum(v**scale for v in p.values()) for p in others)
    # 22 unknown items and 5 %: the last of them, since ceil(23 x 0.95) is 22.
    assert made.threshold.probability == pytest.approx(best[-1], abs=1e-5)
    assert f"threshold {made.threshold.probability:.3f}: at most 5 %" in out
    gaps = (found.scores.max(1).values - found.scores.gather(1, found.targets[:, None])[:, 0]).sort().values
    # 42 items and 90 %: ceil(43 x 0.9) is 39. Above it lies a millionth of the largest score.
    assert made.coverage.quantile == pytest.approx(float(gaps[38] + 1e-6 * found.scores.abs().max()), abs=1e-5)
    assert (made.items, made.threshold.unknown_items, len(made.content)) == (42, 22, 64)
    assert "expected calibration error in points: " in out


def test_the_temperature_makes_the_test_split_likelier(calibrated, data):
    run = load_run(calibrated)
    found = th.evaluate(run.model, th.read_dataset(data).split("test"), PROTOCOL)
    loss = [
        float(F.cross_entropy(s, found.targets)) for s in (found.scores.double(), run.calibration.apply(found.scores))
    ]
    assert loss[1] < loss[0]


@pytest.mark.slow
def test_without_unknown_items_there_is_no_threshold(run, data, say, tmp_path):
    plain = tmp_path / "plain.csv"
    lines = [line for line in data.read_text().splitlines() if "sand" not in line]
    plain.write_text("\n".join([lines[0]] + [f"{data.parent}/{line}" for line in lines[1:]]) + "\n")
    code, out, _ = say("calibrate", run, plain, "--workers", 0)
    assert code == 0
    assert "no threshold for 'none of these': it is set by items of no class of the run; name some by --unknown" in out
    assert load_run(run).calibration.threshold is None
    code, out, err = say("calibrate", run, plain, "--workers", 0, "--unknown", data.parent / "sand")
    assert (code, "expected CLASS/FILE" in err) == (2, True)
    shutil.copytree(data.parent / "sand", tmp_path / "other" / "sand")
    code, out, err = say("calibrate", run, plain, "--workers", 0, "--unknown", tmp_path / "other")
    assert (code, load_run(run).calibration.threshold.unknown_items) == (0, 22)
    code, out, err = say("calibrate", run, data, "--workers", 0, "--unknown", tmp_path / "other")
    assert (code, load_run(run).calibration.threshold.unknown_items) == (0, 22)
    assert "22 unknown items of no class of the run: sand (22 copies left out)" in err
    code, out, _ = say("calibrate", run, data, "--workers", 0, "--false-accept", 0.02, "--coverage", 0.99)
    assert "2 % needs at least 49 unknown items, got 22, which can promise 4.3 %" in out
    assert "a coverage of 99 % needs at least 99 items, got 42" in out
    made = load_run(run).calibration
    assert (made.threshold, made.coverage) == (None, None)


def test_classes_without_an_item_are_told_to_have_no_promise(run, data, say, tmp_path):
    shutil.copytree(data.parent / "sea", tmp_path / "some" / "sea", ignore=shutil.ignore_patterns("train*"))
    code, out, err = say("calibrate", run, tmp_path / "some", "--workers", 0)
    assert code == 0
    assert "28 items (all) of 1 of the run's 3 classes" in err
    assert "holds for items like these, so not for fire, grass, of which there are none" in " ".join(err.split())
    assert re.search(r"labels on average \(of the items (\d+ have [123](, |\)))+", out)


def test_a_threshold_that_turns_most_away_is_told_as_such(run, data, say):
    told = []
    for rate in (0.05, 0.7):
        code, out, _ = say("calibrate", run, data, "--workers", 0, "--false-accept", rate)
        assert code == 0
        away = load_run(run).calibration.measured.turned_away
        told.append("most of them, so `predict` will mostly say 'none of these'" in " ".join(out.split()))
        assert told[-1] == (away > 21)
    assert told == [True, False]


def test_training_items_that_were_not_drawn_can_be_calibrated_on(run, data, say):
    """As after `train --k`: of the split only some were trained on; those left share their groups, one a row here."""
    split = json.loads((run / "split.json").read_text())
    few = [place for place, path in enumerate(split["train"]) if int(Path(path).stem.removeprefix("train")) < 2]
    for key in ("train", "train_labels", "train_content"):
        split[key] = [split[key][place] for place in few]
    (run / "split.json").write_text(json.dumps(split))
    rows = [line.split(",") for line in data.read_text().splitlines()]
    grouped = data.parent / "grouped.csv"
    head = [*rows[0], "group"]
    lines = [[*row, "scene" if row[0].startswith("sea/") else f"scene {place}"] for place, row in enumerate(rows[1:])]
    grouped.write_text("\n".join(",".join(line) for line in [head, *lines]) + "\n")
    code, _, err = say("calibrate", run, grouped, "--split", "train", "--workers", 0)
    assert code == 0
    left = th.read_dataset(data).split("train").with_classes(["sea", "grass", "fire"])
    assert f"{len(left) - len(few)} items (train, not drawn) of 3" in err
    seas = sum(item.label == "sea" for item in left.items) - sum(label == "sea" for label in split["train_labels"])
    assert f"note: {seas} of these" in err
    assert load_run(run).calibration.items == len(left) - len(few)


def test_calibrate_refuses_what_the_run_has_seen(run, data, wrong, tmp_path):
    before = sorted(path.name for path in run.iterdir())
    copies = tmp_path / "copies" / "sea"
    copies.mkdir(parents=True)
    for i in range(2):
        shutil.copy(data.parent / "sea" / f"train{i}.png", copies / f"other{i}.png")
        shutil.copy(data.parent / "sea" / f"test{i}.png", copies / f"test{i}.png")
    assert "2 of 4 items were trained on" in wrong("calibrate", run, tmp_path / "copies", "--workers", 0)
    line = wrong("calibrate", run, data, "--unknown", tmp_path / "copies", "--workers", 0)
    assert "4 items are of a class of the run ('sea')" in line
    shutil.move(copies, tmp_path / "copies" / "lake")
    line = wrong("calibrate", run, data, "--unknown", tmp_path / "copies", "--workers", 0)
    assert "2 items were trained on" in line
    assert "the run was trained on all" in wrong("calibrate", run, data, "--split", "train")
    assert "--coverage must lie between 0 and 1, got 90" in wrong("calibrate", run, data, "--coverage", 90)
    assert "none of 22 items is of a class of the run" in wrong("calibrate", run, other(data, tmp_path), "--workers", 0)
    assert "RUN comes before DATA" in wrong("calibrate", data, run)
    assert sorted(path.name for path in run.iterdir()) == before


def other(data: Path, tmp_path: Path) -> Path:
    """A folder with sand alone."""
    shutil.copytree(data.parent / "sand", tmp_path / "only" / "sand")
    return tmp_path / "only"


# ---- what is done with it


def test_predict_names_none_where_the_best_is_not_above_the_threshold(calibrated, data, say, tmp_path):
    files = [data.parent / "sand", data.parent / "grass"]
    _, plain, _ = say("predict", calibrated, *files, "--json", "--workers", 0)
    entries = json.loads(plain)
    made = load_run(calibrated).calibration
    answers = [entry["answer"] for entry in entries]
    assert answers == [
        entry["top"][0]["name"] if entry["top"][0]["probability"] > made.threshold.probability else None
        for entry in entries
    ]
    # Of 22 of sand, which set it at 10 %, all but the best one: ceil(23 x 0.9) is 21.
    away = [answer is None for answer, entry in zip(answers, entries, strict=True) if "/sand/" in entry["path"]]
    assert away.count(False) == 1
    assert {entry["temperature"] for entry in entries} == {made.temperature}
    code, out, err = say("predict", calibrated, *files, "--workers", 0)
    assert (code, out.count("none of these (best: ")) == (0, answers.count(None))
    assert f"note: probabilities are after temperature {made.temperature:.3g} (calibration.json, 42 items)" in err


def test_predict_says_which_names_are_in_the_set(calibrated, data, say):
    folder = data.parent / "fire"
    code, out, _ = say("predict", calibrated, folder, "--sets", "--top", 1, "--json", "--workers", 0)
    entries = json.loads(out)
    run = load_run(calibrated)
    found = th.predict(run, [folder], sets=True, top=1)
    assert code == 0
    assert [entry["set"] for entry in entries] == [[n for n, _ in p.top[: p.set_size]] for p in found]
    assert all(len(p.top) == p.set_size for p in found)
    assert {p.set_size for p in found} > {1}
    # Within the quantile of the best score is above its share of the best probability.
    share = np.exp(-run.calibration.coverage.quantile / run.calibration.temperature)
    for p in th.predict(run, [folder], sets=True, top=3):
        # The item that set the quantile is on its edge.
        inside = [bool(v >= 0.9999 * share * p.top[0][1]) for _, v in p.top]
        assert inside == [place < p.set_size for place in range(3)]
    code, out, _ = say("predict", calibrated, folder, "--sets", "--top", 1, "--csv", "--workers", 0)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [r["name"] for r in rows if r["in_set"] == "yes"] == [name for entry in entries for name in entry["set"]]
    assert {r["answer"] for r in rows if r["rank"] == "1"} <= {"sea", "grass", "fire", "none of these"}
    code, out, _ = say("predict", calibrated, folder, "--sets", "--workers", 0)
    assert out.count("  set: fire") == sum(entry["set"][0] == "fire" for entry in entries)


def test_a_calibration_changes_no_order_and_a_bare_run_no_table(run, data, say):
    arguments = ("predict", run, data.parent / "grass", "--csv", "--workers", 0)
    before = list(csv.DictReader(io.StringIO(say(*arguments)[1])))
    assert say("calibrate", run, data, "--workers", 0)[0] == 0
    after = list(csv.DictReader(io.StringIO(say(*arguments)[1])))
    assert list(before[0]) == ["path", "rank", "name", "probability", "error"]
    assert list(after[0]) == [*before[0], "answer"]
    assert [(r["path"], r["name"]) for r in after] == [(r["path"], r["name"]) for r in before]
    sure = [sum(float(r["probability"]) for r in rows if r["rank"] == "1") for rows in (before, after)]
    assert sure[1] < sure[0]
    (run / "calibration.json").unlink()
    assert list(csv.DictReader(io.StringIO(say(*arguments)[1]))) == before


def test_an_unreadable_file_has_neither_answer_nor_set(calibrated, data, say, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"")
    files = [tmp_path / "bad.png", data.parent / "fire" / "val0.png"]
    arguments = ("predict", calibrated, *files, "--sets", "--skip-unreadable", "--workers", 0)
    bad, good = json.loads(say(*arguments, "--json")[1])
    assert set(bad) == {"path", "top", "error"}
    assert good["set"]
    rows = list(csv.DictReader(io.StringIO(say(*arguments, "--csv")[1])))
    assert [(r["answer"], r["in_set"]) for r in rows if r["error"]] == [("", "")]


def test_sets_need_a_calibration(run, data, wrong):
    item = data.parent / "fire" / "val0.png"
    assert "texthead calibrate RUN DATA" in wrong("predict", run, item, "--sets", "--workers", 0)
    with pytest.raises(DataError, match="label sets need a run that is calibrated"):
        th.open_parts(load_run(run), data, run.parent / "parts", options=th.PartOptions(sets=True))


def test_parts_of_before_and_after_are_not_mixed(run, data, say, wrong, tmp_path):
    first, *lines = data.read_text().splitlines()
    few = data.parent / "few.csv"
    few.write_text("\n".join([first, *lines[::5]]) + "\n")
    many = ["--manifest", few, "--part", 10, "--workers", 0, "--out"]
    assert say("predict", run, *many, tmp_path / "parts")[0] == 0
    asked = json.loads((tmp_path / "parts" / "predict.json").read_text())
    # A folder that was begun before there were calibrations goes on.
    assert asked.pop("calibration", "missing") is None
    (tmp_path / "parts" / "predict.json").write_text(json.dumps(asked))
    assert say("predict", run, *many, tmp_path / "parts")[0] == 0
    assert say("calibrate", run, data, "--workers", 0)[0] == 0
    assert "other calibration" in wrong("predict", run, *many, tmp_path / "parts")
    assert say("predict", run, *many, tmp_path / "sure")[0] == 0
    assert "other calibration" in wrong("predict", run, *many, tmp_path / "sure", "--sets")
    assert say("predict", run, *many, tmp_path / "sets", "--sets")[0] == 0
    rows = []
    for part in sorted((tmp_path / "sets").glob("part-*.csv")):
        rows += list(csv.DictReader(part.open(newline="")))
    paths = [item.path for item in th.read_dataset(few).items]
    found = th.predict(load_run(run), paths, sets=True)
    # `predict` sorts no files that are named one by one, nor does the manifest.
    assert [(r["path"], r["name"], r["in_set"] == "yes") for r in rows] == [
        (str(p.path), name, place < p.set_size) for p in found for place, (name, _) in enumerate(p.top)
    ]
    (run / "calibration.json").unlink()
    assert "other calibration" in wrong("predict", run, *many, tmp_path / "sure")


def test_eval_says_what_is_promised_and_where_it_flatters(calibrated, data, say, tmp_path):
    lines = [line for line in data.read_text().splitlines() if "sand" not in line]
    (data.parent / "known.csv").write_text("\n".join(lines) + "\n")
    known = ("eval", calibrated, data.parent / "known.csv", "--workers", 0, "--baselines", "never")
    code, out, _ = say(*known, "--out", tmp_path / "items.csv")
    flat = " ".join(out.split())
    assert code == 0
    assert "flatter" not in flat
    assert "of the items are turned away (best probability not above" in flat
    assert "hold the label (90 % promised)" in flat
    assert "temperature" in flat
    run = load_run(calibrated)
    test = th.read_dataset(data).split("test")
    found = th.evaluate(run.model, test, PROTOCOL)
    after = replace(found, scores=run.calibration.apply(found.scores))
    assert "ECE: expected calibration error, in points" in flat
    assert f" {after.calibration_error:.1f} │ {after.count} │" in flat
    rows = list(csv.DictReader((tmp_path / "items.csv").open(newline="")))
    best = after.scores.softmax(-1).max(-1).values
    assert [float(r["probability"]) for r in rows] == pytest.approx(best.tolist(), abs=1e-4)
    _, out, _ = say(*known, "--split", "val")
    assert "42 of these 42 items are those that the calibration was learned from" in " ".join(out.split())


def test_eval_per_class_counts_items_and_names(trained, data, say):
    lines = [line for line in data.read_text().splitlines() if "sand" not in line]
    (data.parent / "known.csv").write_text("\n".join(lines) + "\n")
    _, out, _ = say("eval", trained, data.parent / "known.csv", "--workers", 0, "--baselines", "never", "--per-class")
    run, test = load_run(trained), th.read_dataset(data).split("test")
    found = th.evaluate(run.model, test, PROTOCOL)
    named = [found.names[place] for place in found.scores.argmax(1)]
    for label in found.names:
        (line,) = (each for each in out.splitlines() if each.startswith(f"│ {label} "))
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        right = sum(n == t == label for n, t in zip(named, test.labels, strict=True))
        assert (cells[1], cells[3]) == ("14", str(named.count(label)))
        assert cells[2].startswith(f"{100 * right / 14:.1f} (")
        assert cells[4].startswith(f"{100 * right / named.count(label):.1f} (")
    wrong = [(t, n) for n, t in zip(named, test.labels, strict=True) if n != t]
    assert wrong
    for truth, name in set(wrong):
        assert f"{truth} taken for {name}: {wrong.count((truth, name))} of 14" in out


# ---- where it does not hold


def test_edited_classes_keep_the_temperature_alone(calibrated):
    run = load_run(calibrated)
    made, protocol = run.calibration, run.protocol
    assert calibration_for(run, protocol) == (made, None)
    assert calibration_for(rename_class(run, "sea", "lake"), protocol) == (made, None)  # The rows are the same.
    for edited in (remove_classes(run, ["sea"]),):
        found, why = calibration_for(edited, protocol)
        assert (found.temperature, found.threshold, found.coverage) == (made.temperature, None, None)
        assert "its classes were edited" in why
        assert "threshold and sets are left out" in why
    found, why = calibration_for(run, replace(protocol, frames=2))
    assert (found.threshold, "other frames, views or sizes" in why) == (None, True)
    assert calibration_for(run.model, protocol) == (None, None)


def test_a_run_that_was_edited_says_so(calibrated, data, say, wrong):
    item = data.parent / "fire" / "val0.png"
    code, _, err = say("classes", calibrated, "remove", "sea")
    assert code == 0
    assert "calibration.json was made with the classes as they were" in err
    code, out, err = say("predict", calibrated, item, "--json", "--workers", 0)
    assert code == 0
    assert "answer" not in json.loads(out)[0]
    assert "its classes were edited: the temperature stays as a guess" in err
    assert "label sets need" in wrong("predict", calibrated, item, "--sets", "--workers", 0)
    assert say("calibrate", calibrated, data, "--workers", 0)[0] == 0
    assert "set" in json.loads(say("predict", calibrated, item, "--json", "--sets", "--workers", 0)[1])[0]


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 7}', '{"format": 1}', '{"format": 1, "temperature": 1e999}'])
def test_a_damaged_calibration_is_a_line(calibrated, data, wrong, text):
    (calibrated / "calibration.json").write_text(text)
    line = wrong("predict", calibrated, data.parent / "fire" / "val0.png", "--workers", 0)
    assert "calibration.json" in line
    with pytest.raises(RunError, match="calibration"):
        load_run(calibrated)


# ---- the page


def page_of(path: Path) -> tuple[str, dict[str, list[str]]]:
    """(the text of a page, the rows of its tables by their first cell)."""
    page = Page(path.read_text(encoding="utf-8"))
    return " ".join(page.strings), {row[0]: row[1:] for row in page.rows if row}


def reported(say, run: Path, *given) -> tuple[str, dict[str, list[str]]]:
    code, _, err = say("report", run, *given, "--workers", 0, "--saliency", 0, "--mistakes", 0, "--baselines", "never")
    assert code == 0, err
    return page_of(run / "report.html")


@pytest.mark.slow
def test_a_report_of_others_measures_what_is_stated(calibrated, data, tmp_path, say, wrong):
    for seed in range(30, 42):
        picture(tmp_path / "strange" / "sand" / f"{seed}.png", "sand", seed)
    text, rows = reported(say, calibrated, data, "--unknown", tmp_path / "strange")
    made = load_run(calibrated).calibration
    found = th.evaluate(load_run(calibrated).model, th.read_dataset(data).split("test"), PROTOCOL)
    held = int(made.sets(found.scores).gather(1, found.targets[:, None]).sum())
    assert rows[""] == ["stated", "calibration, 42 items", "here, 42 items"]
    assert rows["sets that hold the label"][2].startswith(f"{100 * held / 42:.1f} % (")
    assert rows["calibration error before, points"][2].startswith(f"{found.calibration_error:.1f} (")
    assert rows["unknown items that get a name"][:2] == ["10 % at most", "1 of 22: 4.5 %"]
    assert " of 12: " in rows["unknown items that get a name"][2]
    assert "left out of what is measured here" not in text
    # Items that set the threshold are no measure of it.
    assert "the threshold was set by all 22 items: give others" in wrong(
        "report", calibrated, data, "--unknown", sand_of(data, tmp_path), "--workers", 0, "--saliency", 0
    )


def sand_of(data: Path, folder: Path) -> Path:
    """A manifest of the items of sand alone."""
    rows = [f"{item.path},sand" for item in th.read_dataset(data).with_classes(["sand"]).items]
    (folder / "sand.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    return folder / "sand.csv"


@pytest.mark.slow
def test_a_report_of_the_calibration_s_own_items_shows_what_calibrate_measured(calibrated, data, tmp_path, say):
    known = tmp_path / "known.csv"
    items = th.read_dataset(data).split("val").with_classes(["sea", "grass", "fire"]).items
    known.write_text("path,label\n" + "".join(f"{item.path},{item.label}\n" for item in items))
    text, rows = reported(say, calibrated, known)
    made = load_run(calibrated).calibration
    assert "42 of the 42 items of this page are those that the calibration was learned from" in text
    assert rows[""] == ["stated", "calibration, 42 items"]
    assert rows["calibration error after, points"][1].startswith(f"{made.measured.after.bins.error:.1f} (")
    # A calibration of an earlier version holds no measurement.
    path = calibrated / "calibration.json"
    path.write_text(
        json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "measured"})
    )
    text, rows = reported(say, calibrated, known)
    assert "This calibration holds no measurement: `texthead calibrate RUN DATA` makes it again with one." in text
    assert rows[""] == ["stated"]
    assert rows["sets that hold the label"] == ["90 % at least"]


@pytest.mark.slow
def test_a_report_says_what_does_not_hold(run, data, say, wrong):
    line = wrong("report", run, data, "--unknown", data)
    assert "measures the threshold of a calibrated run, and the run has none: texthead calibrate RUN DATA" in line
    text, _ = reported(say, run, data)
    assert "The run is not calibrated" in text
    assert say("calibrate", run, data, "--workers", 0, "--false-accept", 0.1)[0] == 0
    assert say("classes", run, "remove", "fire")[0] == 0
    text, rows = reported(say, run, data)
    assert "calibration.json: its classes were edited: the temperature stays as a guess" in text
    assert rows[""][0] == "stated"
    assert len(rows[""]) == 2
    assert "sets that hold the label" not in rows
    assert "its classes were edited" in wrong("report", run, data, "--unknown", data)
