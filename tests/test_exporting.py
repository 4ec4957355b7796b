"""texthead export: whatever a run can hold, the folder scores as the run does, for any number of clips and frames."""

import csv
import html
import json
import subprocess
import sys
import venv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt

from made import PIXELS, SPEC, noise, tiny_visual, write_broken, write_image, write_video
from texthead import exporting, parity, standalone
from texthead.calibration import Calibration, Coverage, Threshold, measure
from texthead.errors import RunError
from texthead.exporting import Scorer, export
from texthead.heads import FrozenHead, LinearHead, ProbeHead, TemplatesHead, TrainableHead
from texthead.model_card import _code, model_card
from texthead.parity import Parity, noise_clips
from texthead.prediction import look_of, predict
from texthead.prompt_head import PromptHead
from texthead.recipes import Recipe
from texthead.recognizer import Recognizer
from texthead.runs import load_run, rows_digest, save_calibration, write_run
from texthead.sampling import Views
from texthead.scores import read_scores
from texthead.temporal import MeanPool, TemporalConv, TemporalTransformer, TokenConv
from worlds import World, world  # noqa: F401

NAMES = ["red", "green", "blue"]
VIT = replace(SPEC, architecture="timm:test_vit", dim=64, size=160, any_size=False)


def heads(dim: int) -> dict[str, torch.nn.Module]:
    """One of every kind that a run holds."""
    rows, center = noise(3, dim), 0.1 * noise(dim, seed=1)
    return {
        "frozen": FrozenHead(
            rows, names=NAMES, scale=20.0, center=center, kind="text", prompts=[f"a {n} one" for n in NAMES]
        ),
        "trainable": TrainableHead(rows, names=NAMES, scale=20.0),
        "templates": TemplatesHead(noise(4, 3, dim), names=NAMES, scale=20.0, pooling="probabilities"),
        "templates' mean": TemplatesHead(noise(4, 3, dim), names=NAMES, scale=20.0, draw=True),
        "prompt": PromptHead(None, NAMES, context=noise(2, 8), after="", read=NAMES, rows=rows, scale=20.0),
        "linear": LinearHead(dim, names=NAMES, generator=torch.Generator().manual_seed(0)),
        "probe": ProbeHead(rows, bias=noise(3, seed=2), center=center, names=NAMES),
    }


def temporal_of(kind: str, visual: torch.nn.Module, dim: int) -> torch.nn.Module:
    """A temporal module that does something."""
    made = {
        "mean": MeanPool,
        "transformer": lambda: TemporalTransformer(dim, layers=2, width=64),
        "full transformer": lambda: TemporalTransformer(dim, layers=1, max_frames=12),
        "conv": lambda: TemporalConv(visual),
        "token-conv": lambda: TokenConv(visual),
    }[kind]()
    for number, parameter in enumerate(made.parameters()):
        parameter.data += 0.1 * noise(*parameter.shape, seed=number)
    return made


def run_of(folder: Path, head: str, temporal: str, *, spec=SPEC, pixels=PIXELS, frames: int = 3, split=None):
    """A run in a folder, read back."""
    visual = tiny_visual(spec=spec)
    model = Recognizer(visual, temporal_of(temporal, visual, spec.dim), heads(spec.dim)[head])
    recipe = Recipe(name="test", frames=frames, size=pixels.size, resize=pixels.resize, origin="centre")
    nothing: dict[str, object] = {"train": [], "held_out": [], "train_content": [], "held_out_content": []}
    write_run(folder, model, recipe, pixels, NAMES, split or nothing)
    return load_run(folder)


def check_scores(folder: Path, run, views: Views | None = None, pooling=None) -> None:
    """The folder's model gives the run's scores for several numbers of clips and frames."""
    model, look = look_of(run, views=views, pooling=pooling)
    scorer, predictor = Scorer(model, look.pooling).eval(), standalone.Predictor(folder)
    for items, frames in ((1, 1), (1, 2), (3, 3), (2, 8), (5, 12)):
        clips = noise_clips(items, frames, look)
        with torch.inference_mode():
            ours = scorer(torch.from_numpy(clips)).numpy()
        theirs = predictor.model(clips)
        assert theirs.shape == (items, 3)
        assert np.abs(ours - theirs).max() <= 1e-4, (items, frames)
        assert ours.std() > 1e-3, "all scores alike: nothing was compared"


# One of them is quick; all take minutes.
COMBINATIONS = [
    ("linear", "mean"),
    pytest.param("linear", "conv", marks=pytest.mark.slow),
    pytest.param("templates", "transformer", marks=pytest.mark.slow),
    *(pytest.param(head, "mean", marks=pytest.mark.slow) for head in heads(SPEC.dim) if head != "linear"),
    pytest.param("frozen", "full transformer", marks=pytest.mark.slow),
]


@pytest.mark.slow
@pytest.mark.parametrize(("head", "temporal"), COMBINATIONS)
def test_every_head_and_temporal_module_in_onnx(tmp_path, head, temporal):
    run = run_of(tmp_path / "run", head, temporal)
    found = export(run, tmp_path / "out")
    assert found.probabilities <= 1e-4
    check_scores(tmp_path / "out", run)


@pytest.mark.slow
def test_a_vit_with_convolutions_over_class_tokens(tmp_path):
    pixels = replace(PIXELS, size=160, resize=160)
    run = run_of(tmp_path / "run", "frozen", "token-conv", spec=VIT, pixels=pixels)
    export(run, tmp_path / "out")
    check_scores(tmp_path / "out", run)


@pytest.mark.slow
@pytest.mark.parametrize(("head", "temporal"), [("probe", "conv"), ("templates", "transformer")])
def test_torch(tmp_path, head, temporal):
    run = run_of(tmp_path / "run", head, temporal)
    export(run, tmp_path / "out", to="torch")
    check_scores(tmp_path / "out", run)
    assert "can run code" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["features", "logits", "probabilities"])
def test_views_are_averaged_inside(tmp_path, pooling):
    run = run_of(tmp_path / "run", "templates", "mean")
    views = Views(2, 3, "first")
    export(run, tmp_path / "out", views=views, pooling=pooling)
    check_scores(tmp_path / "out", run, views, pooling)
    path = write_video(tmp_path / "a.mp4", "red", frames=9)
    (ours,) = predict(run, [path], views=views, pooling=pooling)
    theirs = standalone.Predictor(tmp_path / "out").named(path, 5)["top"]
    assert [pair["name"] for pair in theirs] == [name for name, _ in ours.top]
    assert [pair["probability"] for pair in theirs] == pytest.approx([p for _, p in ours.top], abs=1e-4)


@pytest.mark.slow
def test_a_transformer_says_how_many_frames_it_takes(tmp_path):
    export(run_of(tmp_path / "run", "frozen", "full transformer"), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "preprocessing.json").read_text())["input"]["most_frames"] == 12


def calibrated(run, **changes):
    """The run with a calibration, as `texthead calibrate` writes it."""
    made = Calibration(
        1.5,
        40,
        Threshold(0.05, 0.6, 40),
        Coverage(0.9, 1.25),
        rows_digest(run.model.head.weight),
        look_of(run)[1].to_json(),
        "held",
    )
    return save_calibration(run, replace(made, **changes))


def held_by(run, *, promises):
    return exporting.thresholds(*exporting.kept_calibration(run, look_of(run)[1], promises=promises))


def test_a_calibration_comes_along(tmp_path):
    run = run_of(tmp_path / "run", "frozen", "mean")
    assert held_by(run, promises=True)["temperature"] == 1.0
    held: dict = held_by(calibrated(run), promises=True)
    assert (held["temperature"], held["threshold"]["probability"], held["coverage"]["quantile"]) == (1.5, 0.6, 1.25)


@pytest.mark.parametrize("changes", [{"classes": "other"}, {"look": {"frames": 99}}, {}])
def test_a_calibration_of_other_rows_views_or_weights_leaves_the_temperature_alone(tmp_path, changes):
    run = calibrated(run_of(tmp_path / "run", "frozen", "mean"), **changes)
    held = held_by(run, promises=bool(changes))
    assert (held["temperature"], held["threshold"], held["coverage"]) == (1.5, None, None)
    assert held["why"]


@pytest.mark.parametrize("promises", [True, False])
def test_the_card_says_what_goes_along_of_a_calibration(tmp_path, promises):
    run = calibrated(run_of(tmp_path / "run", "frozen", "mean"))
    scores = torch.tensor([[3.0, 0.0]] * 30 + [[0.4, 0.0]] * 10)
    found = measure(run.calibration, scores, torch.zeros(40, dtype=torch.long), unknown=scores[:5] / 100)
    run = save_calibration(run, replace(run.calibration, measured=found))
    made, _ = exporting.kept_calibration(run, look_of(run)[1], promises=promises)
    far = Parity((1,), 0.0, 0.0, 0, False, 0, 0, 0)
    card = model_card(run, look_of(run)[1], "name", far, made=made, file="model.onnx", int8=None)
    named = "It names one of its classes for any file, also for what is none of them."
    assert (named in card) != promises
    assert ("Where the best probability is not above 0.600 it says none of these: " in card) == promises
    assert "Calibrated on 40 items (held): temperature 1.5" in card
    assert ("10 of these items are turned away as none of these" in card) == promises


# ---- the command, on a run of real files


@pytest.fixture(scope="module")
def exported(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    out = tmp_path_factory.mktemp("export") / "out"
    export(load_run(world.run), out)
    return out


@pytest.mark.slow
def test_the_command(world, say, tmp_path):  # noqa: F811
    code, out, _ = say("export", world.run, "--out", tmp_path / "out", "--to", "torch")
    assert code == 0
    assert "2 held-out files: the same best name for 2" in out
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {"README.md", "classes.json", "model.pt2", "predict.py", "preprocessing.json", "thresholds.json"}
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_other_classes(world, say, tmp_path):  # noqa: F811
    code, _, err = say("export", world.run, "--out", tmp_path / "out", "--to", "torch", "--classes", "a kite, a bird")
    assert code == 0, err
    assert [e["prompt"] for e in json.loads((tmp_path / "out" / "classes.json").read_text())["classes"]] == [
        "a kite",
        "a bird",
    ]
    path = world.images / "red" / "0.png"
    _, out, _ = say("predict", world.run, path, "--classes", "a kite, a bird", "--json")
    ours = json.loads(out)[0]["top"]
    theirs = standalone.Predictor(tmp_path / "out").named(path, 5)["top"]
    assert [p["probability"] for p in theirs] == pytest.approx([p["probability"] for p in ours], abs=1e-4)
    with pytest.raises(standalone.Refused, match="is a folder; name the files in it"):
        standalone.Predictor(tmp_path / "out").named(path.parent, 5)


def test_the_card_holds_what_the_run_holds_and_the_exact_strings(world, exported):  # noqa: F811
    card = (exported / "README.md").read_text()
    split = json.loads((world.run / "split.json").read_text())
    assert f"Trained on {len(split['train'])} items, {len(split['held_out'])} held out." in card
    own = read_scores(world.run).methods[-1]
    assert own.items == len(split["held_out"])
    assert f"top-1 {own.top1:.1f} % of {own.items} (95 % interval {own.low:.1f}-{own.high:.1f})" in card
    assert "- `blue`: `blue`" in card
    assert "probabilities by" in card


@pytest.mark.parametrize("name", ["`code` | pipe", "a ` b", "``", "<b>a</b>", "a  bird"])
def test_a_name_in_the_card_reads_as_it_is(name):
    shown = html.escape(" ".join(name.split()), quote=False)
    assert MarkdownIt().render(f"- {_code(name)}") == f"<ul>\n<li><code>{shown}</code></li>\n</ul>\n"


def test_predict_py_names_as_texthead_predict_does(world, say, exported):  # noqa: F811
    """In a process where torch, texthead and pillow cannot be imported."""
    files = [*sorted(world.images.rglob("*.png"))[:4], *sorted(world.videos.rglob("*.mp4"))[:4]]
    _, out, _ = say("predict", world.run, *files, "--json", "--workers", 0)
    blocked = "import sys\nfor name in ('torch', 'texthead', 'PIL', 'transformers'): sys.modules[name] = None\n"
    start = (
        f"import runpy; sys.argv = sys.argv[1:]; runpy.run_path({str(exported / 'predict.py')!r}, run_name='__main__')"
    )
    command = [sys.executable, "-c", blocked + start, "predict.py", *map(str, files), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    theirs = {entry["path"]: entry["top"] for entry in map(json.loads, done.stdout.splitlines())}
    for entry in json.loads(out):
        for ours, other in zip(entry["top"], theirs[entry["path"]], strict=True):
            assert ours["name"] == other["name"]
            assert ours["probability"] == pytest.approx(other["probability"], abs=1e-4)


def test_predict_py_says_what_it_cannot_read_and_goes_on(exported, tmp_path):
    broken, fine = write_broken(tmp_path / "a.mp4"), write_image(tmp_path / "b.png", "red")
    command = [sys.executable, str(exported / "predict.py"), str(broken), str(tmp_path / "none.png"), str(fine)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout.count("not read:") == 2
    assert "cannot be read (No such file or directory)" in done.stdout
    assert str(fine) in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_fresh_environment_of_three_packages(world, say, exported, tmp_path):  # noqa: F811
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "numpy", "onnxruntime", "av"], check=True)
    there = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False)
    assert there.returncode, "torch is in the fresh environment"
    files = [*sorted(world.images.rglob("*.png")), *sorted(world.videos.rglob("*.mp4"))]
    done = subprocess.run(
        [python, exported / "predict.py", *files, "--json"], capture_output=True, text=True, check=True
    )
    _, out, _ = say("predict", world.run, *files, "--json", "--workers", 0)
    for ours, theirs in zip(json.loads(out), map(json.loads, done.stdout.splitlines()), strict=True):
        assert [p["name"] for p in ours["top"]] == [p["name"] for p in theirs["top"]]
        assert [p["probability"] for p in ours["top"]] == pytest.approx(
            [p["probability"] for p in theirs["top"]], abs=1e-4
        )


@pytest.mark.slow
def test_int8_of_a_convolutional_encoder_is_smaller_and_says_what_it_costs(world, say, tmp_path, exported):  # noqa: F811
    code, out, _ = say("export", world.run, "--out", tmp_path / "out", "--int8")
    assert code == 0
    assert "right," in out
    whole, small = ((folder / "model.onnx").stat().st_size for folder in (exported, tmp_path / "out"))
    assert small < whole / 2
    assert "static" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
def test_int8_of_a_vit_is_dynamic(tmp_path):
    pixels = replace(PIXELS, size=160, resize=160)
    run = run_of(tmp_path / "run", "frozen", "mean", spec=VIT, pixels=pixels)
    calibrated(run)
    found = export(run, tmp_path / "out", int8=True)
    assert 0 < found.probabilities < 0.2
    assert "dynamic" in (tmp_path / "out" / "README.md").read_text()
    assert json.loads((tmp_path / "out" / "thresholds.json").read_text())["threshold"] is None


# ---- what cannot be


def test_mistakes_are_one_line(world, wrong, tmp_path):  # noqa: F811
    (tmp_path / "there").mkdir()
    assert "is there already" in wrong("export", world.run, "--out", tmp_path / "there")
    assert "no run" in wrong("export", tmp_path, "--out", tmp_path / "new")
    assert "--int8 is made by onnxruntime" in wrong(
        "export", world.run, "--out", tmp_path / "new", "--to", "torch", "--int8"
    )
    assert "--template" in wrong("export", world.run, "--out", tmp_path / "new", "--template", "a {}.")
    assert "export needs --out" in wrong("export", world.run)
    assert not (tmp_path / "new").exists()


def test_without_onnx_the_remedy_is_named(world, wrong, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install 'texthead[onnx]'" in wrong("export", world.run, "--out", tmp_path / "new")


@pytest.mark.slow
def test_int8_without_training_files_is_refused(tmp_path):
    run = run_of(tmp_path / "run", "frozen", "mean")
    with pytest.raises(RunError, match="none of the run's is there"):
        export(run, tmp_path / "out", int8=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_model_that_differs_is_not_written(tmp_path, monkeypatch):
    """The bound is made so small that the last bits break it."""
    run = run_of(tmp_path / "run", "frozen", "mean")
    monkeypatch.setattr(parity, "TOLERANCE", 1e-12)
    with pytest.raises(RunError, match="differ from the run's by"):
        export(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("where", ["ours", "theirs"])
def test_no_number_is_no_parity(where):
    plain, none = np.array([[1.0, -np.inf]]), np.array([[np.nan, 0.0]])
    pairs = {"ours": [plain, none], "theirs": [plain, plain]}
    furthest = parity._furthest(pairs[where], pairs["theirs" if where == "ours" else "ours"])
    with pytest.raises(RunError, match="are NaN"):
        parity.check_parity(Parity((1,), furthest, furthest, 0, True, 0, 0, 0))
    assert parity._furthest([plain], [plain]) == 0


def test_files_that_are_checked_are_from_the_whole_list(tmp_path):
    files = [str(write_image(tmp_path / f"{place:02d}.png", "red")) for place in range(63)]
    split = {"train": files, "train_content": [""] * 63, "held_out": files, "held_out_content": [""] * 63}
    run = run_of(tmp_path / "run", "frozen", "mean", split=split)
    places = [int(path.stem) for path in parity._held_out(run)[0]]
    assert len(places) == parity.CHECKED
    assert places[-1] >= 61


@pytest.mark.slow
def test_a_real_run_on_real_clips(shared, tmp_path):
    """Airborne clips through the exported folder are those of the library, and named alike."""
    rows = list(csv.DictReader((shared / "video" / "airborne" / "clips.csv").open()))
    files = [str(shared / "video" / "airborne" / row["path"]) for row in rows if row["split"] == "test"][::8]
    split = {"train": [], "train_content": [], "held_out": files, "held_out_content": [""] * len(files)}
    run = run_of(tmp_path / "run", "frozen", "transformer", frames=8, split=split)
    found = export(run, tmp_path / "out")
    assert found.files == len(files) == 10
    assert found.same_pixels
    assert found.agree == len(files)
    assert found.scores <= 1e-4
