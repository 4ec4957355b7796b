"""Engines: the same features from a graph, which is stored, and made again if damaged."""

from typing import get_args

import pytest
import torch
from torch import nn

from made import write_image
from messages import prints, refuses
from paper.temporal_conv import TokenConv
from texthead.data.protocol import Pixels, Protocol
from texthead.encoders.encoder import VisualEncoder, build_visual
from texthead.encoders.lazy import weights_digest
from texthead.encoders.load import load_encoder, spec_of
from texthead.encoders.spec import VisualSpec
from texthead.errors import RunError
from texthead.extras import version
from texthead.features import engine as engines
from texthead.features.clips import encode
from texthead.features.engine import Engine, graph_path
from texthead.features.reading import ReadOptions, engines_text
from texthead.features.views import item_features
from texthead.models.heads import FrozenHead
from texthead.models.recognizer import Recognizer
from texthead.parallel.progress import Reporter
from texthead.recipes import EngineName

MANY = 10_000


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


@pytest.fixture(scope="module")
def mini() -> VisualEncoder:
    return load_encoder("mini").visual


def frames(size: int, count: int = 8) -> torch.Tensor:
    return torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def small_visual(net: nn.Module, dim: int = 4) -> VisualEncoder:
    spec = VisualSpec(
        "small", "timm:small", dim, 32, 0.9, "bicubic", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "relu", False, True
    )
    return VisualEncoder(net, spec).eval()


def one_minus_cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return 1 - float(torch.cosine_similarity(a.double(), b.double(), dim=-1).min())


@pytest.mark.parametrize(
    "source",
    [
        "timm:vit_tiny_patch16_224",
        pytest.param("openclip:ViT-B-32", marks=pytest.mark.slow),
        pytest.param("openclip:RN50", marks=pytest.mark.slow),
        pytest.param("timm:eva02_tiny_patch14_224", marks=pytest.mark.slow),
        pytest.param("timm:tf_efficientnetv2_b0", marks=pytest.mark.slow),
    ],
)
def test_encoders_of_timm_and_open_clip_have_graphs(source):
    visual = build_visual(spec_of(source)).eval()
    encode, x = Engine(visual, "onnxruntime"), frames(visual.spec.size, 3).transpose(2, 3)
    with torch.inference_mode():
        assert one_minus_cosine(encode(x), visual(x)) < 1e-9
        assert one_minus_cosine(encode(x[:1]), visual(x[:1])) < 1e-9
    assert torch.backends.mha.get_fastpath_enabled()


def test_few_frames_need_no_graph_and_many_store_one(mini, cache, monkeypatch):
    few = Engine(mini, "auto", 200)
    with torch.inference_mode():
        assert torch.equal(few(frames(64)), mini(frames(64)))
    assert (few.name, list(cache.glob("*"))) == ("eager", [])
    lines: list[str] = []
    many = Engine(mini, "auto", MANY, Reporter(note=lines.append))
    many(frames(64))
    assert many.name == "onnxruntime"
    prints(lines[0], "engine: onnxruntime")
    assert [path.suffix for path in cache.iterdir()] == [".graph"]
    # A stored graph is used for few frames too.
    monkeypatch.setattr(engines, "_export", lambda *_: pytest.fail("it is kept"))
    again = Engine(mini, "auto", 8, Reporter(note=lines.append))
    again(frames(64))
    assert (again.name, len(lines)) == ("onnxruntime", 1)


def test_an_inexact_graph_is_not_used(mini, cache, monkeypatch):
    monkeypatch.setattr(engines, "_gap", lambda *_: 1e-5)
    encode = Engine(mini, "auto", MANY)
    with torch.inference_mode():
        assert torch.equal(encode(frames(72)), mini(frames(72)))
    assert (encode.name, [engines.stored_graph(path) for path in cache.iterdir()]) == ("eager", [b""])
    with refuses(RunError, "`engine=onnxruntime`", "cannot run"):
        Engine(mini, "onnxruntime")(frames(72))
    with refuses(RunError, "`engine=onnxruntime`", "cannot run", "1 - cosine is 1e-05, above 1e-06"):
        Engine(mini, "onnxruntime")(frames(80))


@pytest.mark.parametrize("weights", [False, True])
def test_a_damaged_graph_is_made_again(mini, cache, weights: bool):
    """One that is cut short, and one whose weights have other values, which onnxruntime opens."""
    Engine(mini, "auto", MANY)(frames(64))
    (graph,) = cache.iterdir()
    before = graph.read_bytes()
    middle = len(before) // 2
    graph.write_bytes(before[:middle] + bytes(400) + before[middle + 400 :] if weights else before[:1000])
    assert not weights or engines._open_session(graph.read_bytes()[engines.DIGEST_BYTES :])
    again = Engine(mini, "auto", MANY)
    with torch.inference_mode():
        assert one_minus_cosine(again(frames(64)), mini(frames(64))) < 1e-9
    assert again.name == "onnxruntime"
    assert len(graph.read_bytes()) == len(before)


def test_graph_key_has_weights_size_versions_and_processor(mini, monkeypatch):
    own = graph_path(weights_digest(mini), 64)
    assert own == graph_path(weights_digest(mini), 64)
    assert own != graph_path(weights_digest(mini), 65)
    other = small_visual(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4)))
    assert own != graph_path(weights_digest(other), 64)
    for package in ("torch", "timm", "onnxruntime"):
        monkeypatch.setattr(engines, "version", lambda name, other=package: "0" if name == other else version(name))
        assert own != graph_path(weights_digest(mini), 64)
    monkeypatch.setattr(engines, "version", version)
    assert own == graph_path(weights_digest(mini), 64)
    monkeypatch.setattr(engines, "_processor", lambda: "another")
    assert own != graph_path(weights_digest(mini), 64)


class Odd(nn.Module):
    """A module with an operation that ONNX lacks."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.svdvals(x.flatten(1).unflatten(1, (4, -1)))


def test_onnx_fallback_matches_torch(capfd, cache):
    visual = small_visual(Odd())
    encode = Engine(visual, "auto", MANY)
    with torch.inference_mode():
        assert torch.equal(encode(frames(32)), visual(frames(32)))
    assert (encode.name, *capfd.readouterr()) == ("eager", "", "")
    assert [engines.stored_graph(path) for path in cache.iterdir()] == [b""]


def test_a_provider_that_is_not_installed_or_does_not_start(mini, cache, monkeypatch):
    """onnxruntime-gpu without CUDA's libraries lists the provider, and falls back to the CPU's."""
    provider, _, package = engines.PROVIDERS["onnxruntime:cuda"]
    with pytest.warns(UserWarning, match="CUDA"), refuses(RunError, "`engine=onnxruntime:cuda`", provider, package):
        Engine(mini, "onnxruntime:cuda")(frames(64))
    assert not list(cache.glob("*")), "the next process tries again"


def test_every_provider_is_an_engine_with_graphs_of_its_own():
    assert {*engines.PROVIDERS, "auto", "eager"} == {*get_args(EngineName)}
    paths = {graph_path("weights", 64, engine) for engine in engines.PROVIDERS}
    assert len(paths) == len(engines.PROVIDERS)


def test_engines_share_a_cache(mini, tmp_path):
    path, pixels, used = write_image(tmp_path / "a.png", "red"), Pixels(64, 64, "bicubic"), list[str]()

    def feature(engine):
        reading, reporter = ReadOptions(cache=tmp_path, engine=engine), Reporter(used=used.append)
        (result,) = encode(mini, [path], Protocol(1, pixels), reading, reporter)
        return result

    exact = feature("onnxruntime")
    assert torch.equal(feature("eager"), exact)
    assert used == ["onnxruntime", "onnxruntime"]
    assert engines_text(["onnxruntime", "eager", *used]) == "eager, onnxruntime"
    assert engines_text([]) == "eager"


class Full(nn.Module):
    """Means of colours, for at most so many frames at once."""

    def __init__(self, most: int):
        super().__init__()
        self.most = most

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return x.float().mean((2, 3))


def test_a_full_gpu_gets_half_as_many_frames():
    """A module that is no `VisualEncoder` runs as it is."""
    lines: list[str] = []
    encode = Engine(Full(3), "auto", MANY, Reporter(note=lines.append))
    for _ in range(2):
        assert torch.equal(encode(frames(8)), frames(8).float().mean((2, 3)))
    assert encode.name == "eager"
    prints(lines[0], 8, 4)
    prints(lines[1], 4, 2)
    assert len(lines) == 2
    with refuses(RunError, "one frame"):
        Engine(Full(0), "eager")(frames(8))


def test_temporal_encoder_runs_without_engine(mini, tmp_path):
    visual = build_visual(spec_of("timm:vit_tiny_patch16_224"))
    model = Recognizer(visual, TokenConv(visual), FrozenHead(torch.eye(2, 192), names=("a", "b"), kind="x"))
    path, protocol = write_image(tmp_path / "a.png", "red"), Protocol(2, Pixels(224, 224, "bicubic"))
    (pinned,), (eager,) = (
        item_features(model, [path], protocol, ReadOptions(engine=e)) for e in ("onnxruntime", "eager")
    )
    assert torch.equal(pinned, eager)
