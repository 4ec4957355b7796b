"""Encoders of whole clips: features, caching, and everything from training to export."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import VideoMAEConfig, VideoMAEModel

from made import noise, write_image, write_video
from messages import prints, refuses
from texthead.apps.timeline.timeline import Sliding, find_events
from texthead.data.dataset import Dataset, Item
from texthead.data.protocol import Protocol, Views
from texthead.data.transforms import view_crops
from texthead.encoders.encoder import Encoder, Visual, clip_features
from texthead.encoders.load import load_encoder
from texthead.encoders.spec import VisualSpec
from texthead.errors import EncoderError, MediaError, RunError
from texthead.evaluation.evaluate import evaluate, score
from texthead.evaluation.frame_order import order_test
from texthead.evaluation.saliency import cover
from texthead.features.frozen import FrozenEncoder
from texthead.features.reading import Reading
from texthead.media.paths import MediaPath
from texthead.models.heads import FrozenHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import AttentivePool, MeanPool, TemporalTransformer
from texthead.prediction.predict import predict
from texthead.recipes import small
from texthead.runs.run import load_run
from texthead.training.execution import Execution
from texthead.training.fit_recipe import adapt_recipe
from texthead.training.train import train

FRAMES, NAMES = 4, ("red", "blue")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random VideoMAE for four 32-pixel frames, with two temporal features per clip."""
    folder = tmp_path_factory.mktemp("videomae")
    blocks = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        VideoMAEModel(VideoMAEConfig(**blocks, image_size=32, patch_size=8, num_frames=FRAMES)).save_pretrained(folder)
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "VideoMAEImageProcessor", **sizes})
    )
    return folder


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return load_encoder(f"hf:{folder}")


@pytest.fixture
def visual(encoder: Encoder) -> Visual:
    return encoder.visual.eval()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("videos")
    paths = [write_video(folder / f"{i}.mp4", NAMES[i % 2], frames=5 + i, seed=i) for i in range(6)]
    return Dataset(tuple(Item(path, NAMES[i % 2]) for i, path in enumerate(paths)), "made here")


def recognizer(visual: Visual, temporal: torch.nn.Module | None = None) -> Recognizer:
    return Recognizer(visual, temporal or MeanPool(), FrozenHead(noise(2, 32), names=NAMES, scale=10.0)).eval()


@torch.inference_mode()
def test_long_clips_are_seen_part_by_part(visual: Visual) -> None:
    clips = noise(2, 2 * FRAMES, 3, 32, 32)
    result = clip_features(visual, clips)
    assert result.shape == (2, 4, 32)
    assert torch.allclose(result[:, :2], visual(clips[:, :FRAMES]), atol=1e-5)
    assert torch.allclose(result[:, 2:], visual(clips[:, FRAMES:]), atol=1e-5)
    model = recognizer(visual)
    assert (model.sees_clips, model.sees_frames_apart) == (True, False)
    assert torch.allclose(model.features(clips), result.mean(1), atol=1e-6)
    assert torch.allclose(model.on_features()(result), model(clips), atol=1e-5)
    with refuses(EncoderError, "hf:", FRAMES, 6):
        model(clips[:, :6])


def test_pixels_are_normalised_in_the_network(visual: Visual) -> None:
    pixels = torch.randint(0, 256, (1, FRAMES, 3, 32, 32), dtype=torch.uint8)
    mean, std = (torch.tensor(each)[:, None, None] for each in (visual.spec.mean, visual.spec.std))
    assert torch.allclose(visual(pixels), visual((pixels / 255 - mean) / std), atol=1e-4)


@pytest.mark.parametrize("views", [Views(origin="centre"), Views(2), Views(2, stride=2)])
def test_what_is_kept_is_what_is_computed(
    views: Views, visual: Visual, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = visual.spec.pixels()
    protocol = Protocol(FRAMES, pixels, views)
    cache = tmp_path
    model = recognizer(visual, AttentivePool(32, 16))
    plain, first = evaluate(model, data, protocol), evaluate(model, data, protocol, Reading(cache=cache))
    assert torch.allclose(plain.scores, first.scores, atol=1e-5)
    monkeypatch.setattr(MediaPath, "open", lambda path: pytest.fail(f"{path} was decoded again"))
    assert torch.equal(evaluate(model, data, protocol, Reading(cache=cache)).scores, first.scores)


def test_clips_of_parts_are_kept_too(
    visual: Visual, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data.items[5].path  # Ten frames, ten a second.
    items = tuple(Item(Path(f"{path}{times}"), label) for times, label in (("#t=,0.5", "red"), ("#t=0.5", "blue")))
    pixels, parts = visual.spec.pixels(), Dataset(items)
    protocol = Protocol(FRAMES, pixels, Views(origin="centre"))
    cache = tmp_path
    model = recognizer(visual)
    first = evaluate(model, parts, protocol, Reading(cache=cache)).scores
    assert torch.allclose(evaluate(model, parts, protocol).scores, first, atol=1e-5)
    assert not torch.allclose(first[0], first[1], atol=1e-4)
    monkeypatch.setattr(MediaPath, "open", lambda path: pytest.fail(f"{path} was decoded again"))
    assert torch.equal(evaluate(model, parts, protocol, Reading(cache=cache)).scores, first)


def test_picture_as_clip_and_unreadable_file(visual: Visual, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    model, protocol = recognizer(visual), Protocol(FRAMES, visual.spec.pixels(), Views(origin="centre"))
    cache = tmp_path
    picture = write_image(tmp_path / "picture.png", "red")
    for reading in (Reading(), Reading(cache=cache)):
        scored = score(model, [picture, tmp_path / "broken.mp4"], protocol, replace(reading, skip_unreadable=True))
        assert (scored.paths, len(scored.skipped)) == ([picture], 1)
        assert isinstance(scored.skipped[0], MediaError)


def test_a_recipe_takes_the_frames_of_the_encoder(encoder: Encoder, data: Dataset) -> None:
    recipe, notes = adapt_recipe(small, {}, data, encoder)
    assert (recipe.frames, recipe.size) == (FRAMES, 32)
    prints("\n".join(notes), "frames 8 -> 4")
    assert adapt_recipe(small, {"frames": 8}, data, encoder)[0].frames == 8
    with refuses(RunError, FRAMES, 6):
        adapt_recipe(small, {"frames": 6}, data, encoder)


def test_clips_have_the_stride_of_the_encoder(encoder: Encoder, data: Dataset, tmp_path: Path) -> None:
    """The spec's stride is used in recipes, training, testing and predictions without a run."""
    visual = Visual(encoder.visual.net, replace(encoder.visual.spec, stride=2))
    assert VisualSpec.from_json(visual.spec.to_json()) == visual.spec
    strided = Encoder(visual, None, scale=10.0)
    recipe, notes = adapt_recipe(small, {}, data, strided)
    assert recipe.stride == 2
    prints("\n".join(notes), "stride 0 -> 2")
    assert adapt_recipe(small, {"stride": 0}, data, strided)[0].stride == 0
    path, model = data.items[5].path, recognizer(visual)  # Ten frames.
    pixels = visual.spec.pixels()
    middle = [1, 3, 5, 7]
    with MediaPath(path).open() as media:
        expected = model(view_crops(media.frames_at(middle), pixels.size, pixels.resize, 1, pixels.interpolation))
    assert torch.allclose(score(model, [path], model.protocol).scores, expected, atol=1e-4)
    changes = {"epochs": 1, "warmup": 0.0, "temporal": "attentive", "width": 16, "size": 32, "test_size": None}
    run_recipe = replace(recipe, freeze_encoder=True, **changes)
    model = recognizer(visual, AttentivePool(32, 16))
    cache = tmp_path / "cache"
    train(model, data, data, run_recipe, out=tmp_path / "run", execution=Execution(cache=cache))
    assert load_run(tmp_path / "run").protocol.views == Views(origin="centre", stride=2)
    frames = replace(visual.spec, frames=1, stride=0)
    with refuses(RunError, "stride=3", "freeze_encoder"):
        adapt_recipe(
            small, {"stride": 3, "freeze_encoder": True}, data, Encoder(Visual(visual.net, frames), None, scale=10.0)
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("temporal", "frozen"),
    [("mean", False), ("attentive", False), ("attentive", True), ("transformer", False), ("transformer", True)],
)
def test_from_training_to_predictions(
    temporal: str, frozen: bool, encoder: Encoder, data: Dataset, tmp_path: Path
) -> None:
    sizes = {"size": 32, "test_size": None, "resize": 32, "frames": FRAMES, "width": None if temporal == "mean" else 16}
    recipe = small(temporal=temporal, layers=1, freeze_encoder=frozen, epochs=2, **sizes)
    modules = {"mean": MeanPool, "attentive": AttentivePool, "transformer": TemporalTransformer}
    module = modules[temporal](*(() if temporal == "mean" else (32,)), **({} if temporal == "mean" else {"width": 16}))
    visual = Visual(load_encoder(encoder.source).visual.net, encoder.visual.spec)
    model = recognizer(visual, module)
    cache = tmp_path / "cache" if frozen else False
    train(model, data, data, recipe, out=tmp_path / "run", execution=Execution(cache=cache))
    run = load_run(tmp_path / "run")
    path = data.items[0].path
    (result,) = predict(run, [path])
    assert result.top == predict(run, [path], Protocol(FRAMES, visual.spec.pixels(), Views(origin="centre")))[0].top
    ordered = order_test(run.model, data, run.protocol, Reading(), seeds=(0,))
    assert ordered.top1 == pytest.approx(evaluate(run.model, data, run.protocol).top1)
    covered = cover(run.model, torch.randint(0, 256, (FRAMES, 3, 32, 32), dtype=torch.uint8), grid=2)
    assert covered.heat(0).shape == (FRAMES, 2, 2)
    assert find_events(run, path, sliding=Sliding(0.5, rate=8.0)) is not None


@pytest.mark.slow
def test_commands_on_an_encoder_that_sees_clips(data: Dataset, folder: Path, works, say, tmp_path: Path) -> None:
    """Every command works, from `compare` to `export`; `encoders` reports the frames per clip."""
    source = ("--encoder", f"hf:{folder}")
    with (tmp_path / "clips.csv").open("w") as file:
        file.write("path,label,split\n")
        for index, item in enumerate(data.items):
            file.write(f"{item.path},{item.label},{'train' if index < 4 else 'test'}\n")
    clips, run, options = tmp_path / "clips.csv", tmp_path / "run", ("--workers", 0, "--cache", tmp_path / "cache")
    assert "labels alone" in works("compare", clips, *source, *options)[0]
    works("train", clips, *source, "--tune", "none", "--out", run, *options)
    prints(works("train", clips, *source, "--out", tmp_path / "left", *options)[1], "the run is the", "text")
    path = data.items[0].path
    assert works("predict", run, path)[0] == works("predict", tmp_path / "left", path)[0]
    prints(works("timeline", run, path, "--window", 0.5)[1], "each window is encoded whole", FRAMES)
    works("report", run, "--workers", 0)
    prints(say("doctor", clips, *source, *options)[1], "no text encoder")
    cost = works("encoders", source[1], "--temporal", "attentive", "--measure")[0]
    assert f"{FRAMES} frames at once" in cost
    assert "clips/s" in cost
    out = works("export", run, "--out", tmp_path / "carried")[0]
    prints(out, f"clips of {FRAMES} frames")
    assert float(out.partition("at most ")[2].split(",")[0]) < 1e-4
    program = [sys.executable, tmp_path / "carried" / "predict.py", path, "--json"]
    exported = json.loads(subprocess.run(program, check=True, capture_output=True, text=True).stdout)
    (predicted,) = json.loads(works("predict", run, path, "--json")[0])
    assert [top["name"] for top in exported["top"]] == [top["name"] for top in predicted["top"]]


def test_features_of_items_are_means_in_time(visual: Visual, data: Dataset) -> None:
    items = FrozenEncoder(Encoder(visual, None, scale=1.0)).items(data)
    assert items.features.shape == (len(data), 32)
    assert [data.classes[target] for target in items.targets] == data.labels


@torch.inference_mode()
def test_a_grid_holds_means_of_the_tokens(visual: Visual, folder: Path) -> None:
    """A 2 x 4 x 4 grid of tokens is given as steps, as one vector, or coarser: the means of equal bins."""
    assert (visual.spec.grid, visual.spec.finest, visual.spec.tokens) == ((2, 1, 1), (2, 4, 4), 2)
    clips = noise(3, FRAMES, 3, 32, 32)
    tokens = VideoMAEModel.from_pretrained(folder).eval()(clips).last_hidden_state.unflatten(1, (2, 4, 4))
    grids = {(8, 4, 4): tokens, (8, 1, 1): tokens.mean((2, 3))}
    grids[1, 2, 2] = tokens.mean(1).unflatten(2, (2, 2)).unflatten(1, (2, 2)).mean((2, 4))
    for most, expected in grids.items():
        finer = visual.with_grid(most)
        assert finer.spec.tokens == expected[0, ..., 0].numel()
        assert torch.allclose(finer(clips), expected.flatten(1, -2), atol=1e-5)
    thirds = visual.with_grid((2, 3, 1))(clips).unflatten(1, (2, 3))
    assert torch.allclose(thirds[:, :, 0], (tokens[:, :, 0] + tokens[:, :, 1] / 3).mean(2) * 0.75, atol=1e-5)
    assert torch.allclose(thirds.mean((1, 2)), tokens.mean((1, 2, 3)), atol=1e-5)


def test_a_spec_with_a_count_of_tokens_is_one_of_steps(visual: Visual) -> None:
    old = {**visual.spec.to_json(), "tokens": 2}
    del old["grid"], old["finest"]
    assert VisualSpec.from_json(old) == replace(visual.spec, finest=None)
    for grid in ([2, 1], [2, 1, 10**6], [2, 1, 1.0]):
        with refuses(EncoderError, "grid"):
            VisualSpec.from_json({**visual.spec.to_json(), "grid": grid})
