"""Each `tune` trains the part of the encoder that it names, and nothing else moves by a bit; mixed weights."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from made import SPEC, noise, write_clip_folder, write_video
from messages import prints, refuses
from texthead import MeanPool, Recognizer, load_encoder
from texthead.data.dataset import Dataset, Item
from texthead.encoders import build_visual
from texthead.errors import EncoderError, RunError
from texthead.evaluation.calibration import Calibration
from texthead.evaluation.evaluate import evaluate
from texthead.models.heads import FrozenHead
from texthead.parallel.progress import Reporter
from texthead.prediction.load import load_run
from texthead.runs.folder import CALIBRATION, rows_digest
from texthead.runs.scores import SCORES
from texthead.training.train import fine_tune
from training_runs import NAMES, RECIPE, Stop, assert_same_weights, copied, on_disk, stop_after, timeless

# No weight decay, so only gradients move parameters.
ONE = replace(RECIPE, epochs=1, warmup=0.5, scale=None, weight_decay=0.0, clip_norm=0.0)


VIT = replace(SPEC, source="vit", architecture="timm:test_vit", dim=64, size=160, any_size=False)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"hf:{write_clip_folder(tmp_path_factory.mktemp('clip'))}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("media")
    paths = [write_video(folder / f"{i}.mp4", NAMES[i % 2], frames=3, seed=i) for i in range(8)]
    return Dataset(tuple(Item(path, (NAMES[i % 2],), "train") for i, path in enumerate(paths)), "made here")


def model_of(source: str) -> Recognizer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        visual = build_visual(VIT) if source == "vit" else load_encoder(source).visual
    return Recognizer(visual, MeanPool(), FrozenHead(noise(2, visual.spec.dim), names=NAMES, scale=10.0))


@pytest.mark.parametrize(
    ("source", "tune", "part", "trained"),
    [
        ("clip", "norm", r"(layer_norm\d|layr?norm|layernorm)\.(weight|bias)", 64 * (1 + 3 * 2 + 1)),
        ("clip", "lora", r"attn\.[qkv]_proj\.weight", 3 * 3 * 2 * (32 + 32)),
        ("vit", "lora", r"attn\.qkv\.weight", 6 * 2 * (64 + 192)),
        ("mini", "norm", r"bn\d\.(weight|bias)", None),
    ],
)
def test_a_part_is_trained_and_nothing_else_moves(source, tune, part, trained, clip, data, tmp_path) -> None:
    model, lines = model_of(clip if source == "clip" else source), []
    before, kinds = copied(model), [type(module) for module in model.modules()]
    size = {"size": None, "resize": None} if source == "vit" else {}
    recipe = replace(ONE, tune=tune, **size)
    fine_tune(model, data, None, recipe, out=tmp_path, reporter=Reporter(say=lines.append))
    after = copied(model)
    expected = {name for name in before if re.search(f"{part}$", name)}
    assert {name for name in before if not torch.equal(before[name], after[name])} == expected
    numbers = trained or sum(before[name].numel() for name in expected)
    prints(lines[0], f"tune {tune}", f"{numbers:,}")
    # The encoder is plain and fully trainable again, and is what the run stores.
    assert [type(module) for module in model.modules()] == kinds
    assert all(parameter.requires_grad for parameter in model.visual.parameters())
    run = load_run(tmp_path)
    assert_same_weights(run.model.state_dict(), after)
    scored = (evaluate(each, data, run.protocol).scores for each in (run.model, model))
    assert torch.equal(*scored)


@pytest.mark.slow
@pytest.mark.parametrize("tune", ["norm", "lora"])
def test_a_stopped_run_goes_on_bit_for_bit(tune: str, clip: str, data: Dataset, tmp_path: Path) -> None:
    recipe = replace(ONE, tune=tune, epochs=3)
    whole, model = model_of(clip), model_of(clip)
    fine_tune(whole, data, data, recipe, out=tmp_path / "whole")
    with pytest.raises(Stop):
        fine_tune(model_of(clip), data, data, recipe, out=tmp_path / "run", reporter=stop_after(12))
    torch.manual_seed(1)
    fine_tune(model, data, data, recipe, out=tmp_path / "run", resume=True)
    assert timeless(on_disk(tmp_path / "run")) == timeless(on_disk(tmp_path / "whole"))
    assert_same_weights(copied(model), copied(whole))
    again = model_of(clip)
    fine_tune(again, data, data, recipe, out=tmp_path / "run", resume=True)
    assert_same_weights(copied(again), copied(whole))


@pytest.mark.parametrize(("source", "tune", "parts"), [("mini", "lora", ("mini", "tune=norm"))])
def test_an_encoder_without_the_part(source: str, tune: str, parts: tuple, data: Dataset, tmp_path: Path) -> None:
    model = model_of(source)
    with refuses(EncoderError, *parts):
        fine_tune(model, data, None, replace(ONE, tune=tune, size=None, resize=None), out=tmp_path)
    assert all(parameter.requires_grad for parameter in model.visual.parameters())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_half_of_a_fine_tuned_encoder(clip: str, data: Dataset, tmp_path: Path) -> None:
    before, tuned = copied(model_of(clip)), model_of(clip)
    fine_tune(tuned, data, None, ONE, out=tmp_path / "tuned")
    run = load_run(tmp_path / "tuned")
    assert_same_weights(run.mixed(1.0).model.state_dict(), tuned.state_dict())
    assert_same_weights(run.mixed(0.0).model.state_dict(), before)
    for name, tensor in run.mixed(0.5).model.state_dict().items():
        assert torch.allclose(tensor, (before[name] + tuned.state_dict()[name]) / 2, atol=1e-7)
    own = Calibration(2.0, 9, classes=rows_digest(run.head.weight), protocol=run.protocol.to_json())
    run.with_calibration(own).save(tmp_path / "as it was")
    assert load_run(tmp_path / "as it was").calibration_for(run.protocol) == (own, None)
    (run.folder / SCORES).touch()
    load_run(run.folder).mixed(0.5).save(tmp_path / "half")
    assert load_run(tmp_path / "half").calibration is None, "it was for other weights"
    assert not [name for name in (SCORES, "metrics.jsonl") if (tmp_path / "half" / name).exists()], "nor these"
    kept = (run.folder / CALIBRATION).read_bytes()
    with refuses(RunError, run.folder, "`save`"):
        load_run(run.folder).mixed(0.5).calibrate(data)
    assert (run.folder / CALIBRATION).read_bytes() == kept, "of the trained weights"
    run.model.visual_encoder.spec = replace(run.spec, source=f"openclip:local-dir:{run.folder}/encoder")
    with refuses(RunError, run.folder, "mix"):
        run.mixed(0.5)
