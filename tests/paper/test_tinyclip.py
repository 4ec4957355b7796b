"""The small CLIP: loading, gradients in the text tower, caching, and resizing its ViT."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from paper import tinyclip
from paper.shapes import all_pairs, draw_shape_pictures, unseen_pairs
from texthead.encoders.encoder import Encoder
from texthead.encoders.load import load_encoder

WEIGHTS = "open_clip_model.safetensors"
TOWERS: tuple[tinyclip.Tower, ...] = ("vit", "resnet")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both towers after two steps; do not modify."""
    base = tmp_path_factory.mktemp("tinyclip")
    return {tower: tinyclip.cached_tower(tower, base, steps=2) for tower in TOWERS}


def load(folder: Path, *, keep_text: bool = False) -> Encoder:
    return load_encoder(f"openclip:local-dir:{folder}", keep_text=keep_text)


def pictures(size: int = 64) -> torch.Tensor:
    pixels, _ = draw_shape_pictures(unseen_pairs()[:3], 1, rng=np.random.default_rng(0), size=size)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


@pytest.mark.parametrize("tower", TOWERS)
def test_the_folder_is_read_as_any_open_clip(folders: dict[str, Path], tower: tinyclip.Tower):
    mark = json.loads((folders[tower] / tinyclip.MARK).read_text())
    assert (mark["tower"], mark["setting"]["steps"]) == (tower, 2)
    encoder = load(folders[tower])
    assert encoder.scale == pytest.approx(14.3, rel=0.05)
    assert encoder.visual(pictures()).shape == (3, 128)
    rows = encoder.encode_text(["a red circle", "a blue star moving left"])
    assert rows.shape == (2, encoder.dim) == (2, 128)
    torch.testing.assert_close(load(folders[tower]).encode_text(["a red circle"])[0], rows[0])


def test_batch_captions_unique_and_twins_paired():
    rng = np.random.default_rng(0)
    pool = tinyclip._draw_pool(all_pairs()[:12], 2, rng)
    for share in (0.0, 1.0):
        setting = tinyclip.Setting(steps=1, rate=0.1, varied=0.0, batch=12, twin_share=share)
        pixels, captions = tinyclip._draw_batch(pool, setting, rng)
        assert len(pixels) == len(set(captions)) == 12
        named = {pair.name for pair in all_pairs() for text in captions if pair.name[2:].strip() in text}
        assert len(named) == (6 if share else 12)


def test_a_finished_tower_is_kept_and_another_is_trained(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    base, trained = folders["vit"].parent, []
    monkeypatch.setattr(tinyclip, "pretrain", lambda tower, out, **options: trained.append(out) or out)
    assert [tinyclip.cached_tower(tower, base, steps=2) for tower in TOWERS] == [*folders.values()]
    assert not trained
    tinyclip.cached_tower("vit", base, steps=2, seed=1)
    tinyclip.cached_tower("vit", base, steps=3)
    assert len({*trained, *folders.values()}) == 4


@pytest.mark.parametrize(("size", "patches"), [(64, 16), (48, 9), (96, 36)])
def test_the_vit_at_another_size(folders: dict[str, Path], tmp_path: Path, size: int, patches: int):
    out = tinyclip.at_size(folders["vit"], size, tmp_path / "other")
    encoder = load(out)
    assert encoder.visual.spec.size == size
    assert load_file(out / WEIGHTS)["visual.positional_embedding"].shape == (patches + 1, 128)
    features = encoder.visual(pictures(size))
    assert features.shape == (3, 128)
    if size == 64:
        assert torch.equal(features, load(folders["vit"]).visual(pictures()))
