"""texthead export: for every kind of run, the folder gives the run's scores for any number of clips and frames."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from made import PIXELS, SPEC, noise, tiny_visual, write_broken, write_image, write_video
from messages import prints, refuses
from paper.temporal_conv import TemporalConv, TokenConv
from texthead.apps.checkpoints.spotting_head import SpottingHead
from texthead.apps.checkpoints.templates_head import MeanProbabilityHead
from texthead.apps.checkpoints.temporal import FrameTransformer
from texthead.apps.export import parity, standalone
from texthead.apps.export.export import export
from texthead.apps.export.model_card import model_card
from texthead.apps.export.parity import Parity, noise_clips
from texthead.apps.export.scorer import Scorer
from texthead.data.protocol import Protocol, Views
from texthead.errors import RunError
from texthead.evaluation.calibration import Calibration, Coverage, Threshold
from texthead.models.heads import FrozenHead, LinearHead, ProbeHead, TrainableHead
from texthead.models.multilabel_head import MultiLabelHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool, TemporalTransformer
from texthead.prediction.load import load_run
from texthead.recipes import Recipe
from texthead.runs.folder import rows_digest, write_run
from texthead.runs.scores import read_scores

# The package offers the function under this name.
exporting = import_module("texthead.apps.export.export")

NAMES = ["red", "green", "blue"]
VIT = replace(SPEC, architecture="timm:test_vit", dim=64, size=160, any_size=False)


def heads(dim: int) -> dict[str, torch.nn.Module]:
    """Return one head of every kind that a run can hold."""
    rows, center = noise(3, dim), 0.1 * noise(dim, seed=1)
    prompts = [f"a {name} one" for name in NAMES]
    return {
        "frozen": FrozenHead(rows, names=NAMES, scale=20.0, center=center, kind="text", prompts=prompts),
        "trainable": TrainableHead(rows, names=NAMES, scale=20.0),
        "linear": LinearHead(dim, names=NAMES, generator=torch.Generator().manual_seed(0)),
        "probe": ProbeHead(rows, bias=noise(3, seed=2), center=center, names=NAMES),
        "several": MultiLabelHead(
            ProbeHead(rows, bias=noise(3, seed=2), center=center, names=NAMES),
            bias=torch.tensor([-0.5, 0.0, 0.5]),
            thresholds=torch.tensor([0.5, -0.25, 0.0]),
        ),
        "mean-probability": MeanProbabilityHead(noise(3, 2, dim), names=NAMES, scale=20.0),
        "spotting": SpottingHead(noise(3, 6, dim), names=NAMES, scale=20.0),
    }


def temporal_of(kind: str, visual: torch.nn.Module, dim: int) -> torch.nn.Module:
    """Return a temporal module with noise added to its weights, since an untrained one may change nothing."""
    made = {
        "mean": MeanPool,
        "transformer": lambda: TemporalTransformer(dim, layers=2, width=64),
        "full transformer": lambda: TemporalTransformer(dim, layers=1, max_frames=12),
        "frame transformer": lambda: FrameTransformer(dim, layers=1, width=64, max_frames=12),
        "conv": lambda: TemporalConv(visual),
        "token-conv": lambda: TokenConv(visual),
    }[kind]()
    for number, parameter in enumerate(made.parameters()):
        parameter.data += 0.1 * noise(*parameter.shape, seed=number)
    return made


def run_of(folder: Path, head: str, temporal: str, *, spec=SPEC, frames: int = 3, split=None):
    """Write a run folder and load it."""
    visual = tiny_visual(spec=spec)
    model = Recognizer(visual, temporal_of(temporal, visual, spec.dim), heads(spec.dim)[head])
    pixels = PIXELS if spec.any_size else replace(PIXELS, size=spec.size, resize=spec.size)
    recipe = Recipe(name="test", frames=frames, size=pixels.size, resize=pixels.resize, origin="center")
    write_run(folder, model, recipe, pixels, NAMES, split or {})
    return load_run(folder)


def check_scores(folder: Path, run, protocol: Protocol | None = None) -> None:
    """Check that the folder's model gives the run's scores for several numbers of clips and frames."""
    protocol = protocol or run.protocol
    scorer, predictor = Scorer(run.model, protocol).eval(), standalone.Predictor(folder)
    for items, frames in ((1, 1), (1, 2), (3, 3), (2, 8), (5, 12)):
        clips = noise_clips(items, frames, predictor.settings)
        clips = np.ascontiguousarray(clips.swapaxes(3, 4)) if frames == 2 else clips
        with torch.inference_mode():
            ours = scorer(torch.from_numpy(clips)).numpy()
        theirs = predictor.model(clips)
        assert theirs.shape == (items, 3)
        assert np.abs(ours - theirs).max() <= 1e-4, (items, frames)
        assert ours.std() > 1e-3, "all scores alike: nothing was compared"
    assert predictor.names == NAMES


def check_pairs(ours: list[dict], theirs: list[dict]) -> None:
    assert [pair["name"] for pair in ours] == [pair["name"] for pair in theirs]
    expected = [pair["probability"] for pair in theirs]
    assert [pair["probability"] for pair in ours] == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "temporal"),
    [
        *((head, "mean") for head in ("trainable", "probe")),
        ("linear", "conv"),
        ("several", "transformer"),
        ("frozen", "full transformer"),
        ("frozen", "token-conv"),
        ("spotting", "frame transformer"),
        ("mean-probability", "mean"),
    ],
)
def test_every_head_and_temporal_module(tmp_path, head, temporal):
    run = run_of(tmp_path / "run", head, temporal, spec=VIT if temporal == "token-conv" else SPEC)
    assert export(run, tmp_path / "out").probabilities <= 1e-4
    check_scores(tmp_path / "out", run)
    settings = json.loads((tmp_path / "out" / "preprocessing.json").read_text())
    assert "transformer" not in temporal or temporal == "transformer" or settings["input"]["most_frames"] == 12


@pytest.mark.parametrize(
    ("pooling", "views"),
    [("features", Views(2, 3)), ("logits", Views(2, 3, "center", "long-side")), ("probabilities", Views(1, 3))],
)
def test_views_are_cut_and_averaged_inside(tmp_path, pooling, views):
    run = run_of(tmp_path / "run", "mean-probability", "mean")
    protocol = replace(run.protocol, views=views, pooling=pooling)
    path, scorer = write_video(tmp_path / "a.mp4", "red", frames=9), Scorer(run.model, protocol).eval()
    clips = standalone.read_clips(path, exporting.preprocessing(scorer))
    with torch.inference_mode():
        ours, (theirs,) = scorer(torch.from_numpy(clips[None])).softmax(-1)[0], run.predict([path], protocol)
    assert dict(zip(NAMES, ours.tolist(), strict=True)) == pytest.approx(dict(theirs.top), abs=1e-4)


def calibrated(run, **changes):
    """Return the run with a calibration, as `texthead calibrate` writes it."""
    rows, protocol = rows_digest(run.model.head.weight), run.protocol.to_json()
    made = Calibration(1.5, 40, Threshold(0.05, 0.6, 40), Coverage(0.9, 1.25), rows, protocol, "held")
    return run.with_calibration(replace(made, **changes))


def thresholds_of(run) -> dict:
    return exporting.thresholds(run, run.protocol)[1]


def test_a_calibration_comes_along(tmp_path):
    """A calibration for other rows, views or weights exports only its temperature."""
    run = run_of(tmp_path / "run", "frozen", "mean")
    assert thresholds_of(run)["temperature"] == 1.0
    held = thresholds_of(calibrated(run))
    assert (held["temperature"], held["threshold"]["probability"], held["coverage"]["quantile"]) == (1.5, 0.6, 1.25)
    for changes in ({"classes": "other"}, {"protocol": {"frames": 99}}):
        held = thresholds_of(calibrated(run, **changes))
        assert (held["temperature"], held["threshold"], held["coverage"]) == (1.5, None, None), changes
        assert held["why"]


def card_of(run, made: Calibration | None = None) -> str:
    far = Parity((1,), 0.5, 0.25, 4, 3)
    card = model_card(run, run.protocol, "name", made, exported=far)
    about = ModelCard(card).data
    task = "image-classification" if run.protocol.frames == 1 else "video-classification"
    assert (about.library_name, about.pipeline_tag, about.tags) == ("onnx", task, ["texthead"])
    # Put each paragraph on one line.
    return re.sub(r"(?<!\n)\n(?!\n|- )", " ", card)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run and its exported folder `out`."""
    folder = tmp_path_factory.mktemp("export")
    export(run_of(folder / "run", "frozen", "mean"), folder / "out")
    return folder


@pytest.mark.slow
def test_the_command_with_other_classes(world, say, works, tmp_path):
    out, _ = works("export", world.run, "--out", tmp_path / "out", "--classes", "a kite, a bird")
    assert re.findall(r"\d+", prints(out, "held-out").rpartition(" for ")[2]) == ["2", "2"]
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {"README.md", "classes.json", "model.onnx", "predict.py", "preprocessing.json", "thresholds.json"}
    assert not list(tmp_path.glob(".*"))
    classes = json.loads((tmp_path / "out" / "classes.json").read_text())["classes"]
    assert [entry["prompt"] for entry in classes] == ["a kite", "a bird"]
    path = world.images / "red" / "0.png"
    _, out, _ = say("predict", world.run, path, "--classes", "a kite, a bird", "--json")
    predictor = standalone.Predictor(tmp_path / "out")
    check_pairs(json.loads(out)[0]["top"], predictor.predict(path, 5)["top"])
    with refuses(standalone.Refused, "is a folder"):
        predictor.predict(path.parent, 5)


def test_card_has_run_content_and_prompts(world):
    card = card_of(load_run(world.run))
    split = json.loads((world.run / "split.json").read_text())
    own = read_scores(world.run).methods[-1]
    assert own.items == len(split["held_out"])
    (numbers,) = (line for line in card.splitlines() if line.startswith("Trained on"))
    assert numbers.startswith(f"Trained on {len(split['train'])} items")
    assert f", {len(split['held_out'])} held out." in numbers
    assert f"{own.top1:.1f} % of {own.items} (95 % CI {own.low:.1f}-{own.high:.1f})" in numbers
    assert "- `blue`: `blue`" in card
    assert "probabilities by 2.5e-01" in card
    assert "predict the same class for 3 of them" in card


def test_texts_of_a_run_are_no_markup_in_the_card(tmp_path):
    evil = "a`<img src=http://c><script>`` ![b](http://ann:s3cret@c/d.png)"
    run = calibrated(run_of(tmp_path / "run", "frozen", "mean"))
    run.head.kind = evil
    run.model.visual_encoder.spec = replace(run.spec, source=evil, architecture=evil)
    card = card_of(replace(run, recipe=replace(run.recipe, name=evil)), replace(run.calibration, source=evil))
    inside = [token.type for each in MarkdownIt().parse(card) for token in (each, *(each.children or ()))]
    assert not {"html_inline", "html_block", "image", "link_open"} & {*inside}
    assert (card.count("<script>"), "s3cret" in card) == (5, False)


def test_predict_py_names_as_texthead_predict_does(world, say, exported):
    """predict.py runs in a process that cannot import texthead, torch or transformers."""
    files = [*sorted(world.images.rglob("*.png"))[:4], *sorted(world.videos.rglob("*.mp4"))[:4]]
    _, out, _ = say("predict", exported / "run", *files, "--json", "--workers", 0)
    assert "README.md" in {path.name for path in (exported / "out").iterdir()}
    blocked = "import sys\nfor name in ('torch', 'texthead', 'transformers'): sys.modules[name] = None\n"
    program = str(exported / "out" / "predict.py")
    start = f"import runpy; sys.argv = sys.argv[1:]; runpy.run_path({program!r}, run_name='__main__')"
    command = [sys.executable, "-c", blocked + start, "predict.py", *map(str, files), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    entries, others = json.loads(out), [json.loads(line) for line in done.stdout.splitlines()]
    assert [entry["path"] for entry in entries] == [other["path"] for other in others]
    for entry, other in zip(entries, others, strict=True):
        check_pairs(entry["top"], other["top"])


def test_predict_py_reports_what_it_cannot_read_and_goes_on(exported, tmp_path):
    paths = [write_broken(tmp_path / "a.mp4"), tmp_path / "none.png", write_image(tmp_path / "b.png", "red")]
    command = [sys.executable, exported / "out" / "predict.py", *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    assert lines[0:5:2] == list(map(str, paths))
    prints(lines[3], "does not exist")
    assert [line.count("%") for line in lines] == [0] * 5 + [1] * len(NAMES)
    assert "Traceback" not in done.stderr


def test_a_damaged_folder_and_scores_that_do_not_fit_its_classes_are_one_line(exported, tmp_path, monkeypatch, capfd):
    folder, image = Path(shutil.copytree(exported / "out", tmp_path / "out")), write_image(tmp_path / "a.png", "red")
    classes = folder / "classes.json"

    def fails() -> str:
        assert standalone.main([str(image), "--model", str(folder)]) == 2
        out, err = capfd.readouterr()
        assert out == ""
        return prints(err.strip(), folder, "export it again")

    for scores in (np.full((1, 3), np.nan), np.ones((7, 3)), np.ones(3)):
        with monkeypatch.context() as patch:
            patch.setattr(standalone, "load_model", lambda _, scores=scores: lambda clips: scores)
            fails()
    monkeypatch.setattr(standalone, "load_model", lambda _: lambda clips: np.array([[1.0, -np.inf, 2.0]]))
    assert standalone.Predictor(folder).predict(image, 3)["top"][-1] == {"name": "green", "probability": 0.0}
    content = json.loads(classes.read_text())
    classes.write_text(json.dumps({**content, "classes": content["classes"][:2]}))
    assert "2 classes" in fails()
    monkeypatch.undo()
    (folder / "model.onnx").write_bytes(b"no file of an export")
    fails()


def test_a_run_of_several_labels(say, tmp_path):
    paths = [write_image(tmp_path / f"{name}.png", name) for name in NAMES]
    paths.append(write_video(tmp_path / "a.mp4", "red", frames=9))
    labels = ["red; green", "", "blue", "red"]
    split = {
        "held_out": list(map(str, paths)),
        "held_out_labels": ["; ".join(sorted(each.split("; "))) for each in labels],
    }
    split |= {"train": split["held_out"], "train_labels": split["held_out_labels"]}
    run = run_of(tmp_path / "run", "several", "mean", split=split)
    protocol = replace(run.protocol, views=Views(2, 3))
    measured = export(run, tmp_path / "out", protocol=protocol)
    assert measured.files == 4
    thresholds = json.loads((tmp_path / "out" / "thresholds.json").read_text())
    assert thresholds["several"] == {"red": 0.5, "green": -0.25, "blue": 0.0}
    card = (tmp_path / "out" / "README.md").read_text()
    for part in ("sigmoid(scores", "exactly the same classes", "independent binary label", "threshold of each class"):
        prints(card, part)
    assert "softmax" not in card
    check_scores(tmp_path / "out", run, protocol)
    assert measured.agree == 4
    predictor = standalone.Predictor(tmp_path / "out")
    sizes = set()
    for path, ours in zip(paths, run.predict(paths, protocol, top=1), strict=True):
        theirs = predictor.predict(path, 1)
        check_pairs([{"name": name, "probability": probability} for name, probability in ours.top], theirs["top"])
        assert theirs["labels"] == [name for name, _ in ours.labels]
        sizes.add(len(theirs["labels"]))
    assert len(sizes) > 1, "all files have as many classes: nothing was compared"
    _, out, _ = say("predict", tmp_path / "run", paths[0], "--views", "2x3")
    done = subprocess.run([sys.executable, tmp_path / "out" / "predict.py", paths[0]], capture_output=True, text=True)
    assert done.stdout.split() == out.split()


def test_mistakes_are_one_line(world, wrong, tmp_path):
    new = tmp_path / "new"
    assert str(tmp_path) in wrong("export", world.run, "--out", tmp_path)
    assert str(tmp_path) in wrong("export", tmp_path, "--out", new)
    assert "template" in wrong("export", world.run, "--out", new, "--template", "a {}.")
    assert "--out" in wrong("export", world.run)
    assert "hub:ORG/NAME" in wrong("export", world.run, "--to", "onnx")
    assert not new.exists()


def test_refused_without_parity(tmp_path, monkeypatch):
    """The tolerance is so small that the last bits exceed it."""
    run = run_of(tmp_path / "run", "frozen", "mean")
    monkeypatch.setattr(parity, "TOLERANCE", 1e-12)
    with refuses(RunError, "1e-12"):
        export(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_that_scales_without_antialiasing_is_refused(tmp_path):
    run = run_of(tmp_path / "run", "frozen", "mean")
    with refuses(RunError, "antialiasing"):
        export(run, tmp_path / "out", protocol=replace(run.protocol, pixels=replace(run.pixels, antialias=False)))


def test_no_number_is_no_parity():
    plain, none = np.array([[1.0, -np.inf]]), np.array([[np.nan, 0.0]])
    for ours, theirs in (([plain, none], [plain, plain]), ([plain, plain], [plain, none])):
        assert not parity._largest_difference([*zip(ours, theirs, strict=True)]) <= parity.TOLERANCE
    assert parity._largest_difference([(plain, plain)]) == 0


def test_files_that_are_checked_are_from_the_whole_list(tmp_path):
    files = [str(write_image(tmp_path / f"{index:02d}.png", "red")) for index in range(63)]
    split = {"held_out": files, "held_out_labels": [None, *["a hat"] * 62]}  # None: of a removed class.
    run = run_of(tmp_path / "run", "frozen", "mean", split=split)
    indices = [int(file.stem) for file in parity.held_out_files(run)]
    assert len(indices) == parity.CHECKED
    assert 0 not in indices
    assert indices[-1] >= 61


def test_scores_of_the_card_are_for_its_classes(world):
    run = load_run(world.run)
    edited = replace(run, classes={**run.classes, "edited": {"from": "run", "edits": []}})
    for each, measured in ((run, True), (edited, False), (replace(run, classes=None), False)):
        assert ("model-index" in card_of(each)) == measured
