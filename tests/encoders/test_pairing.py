"""Rows from a text-only encoder keep their angles, and a run rebuilds them."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from made import SPEC, noise
from messages import refuses
from text_models import bert, image_only
from texthead.encoders.pairing import fitted_map, lift, pair, residual
from texthead.encoders.text_only import sentences
from texthead.errors import EncoderError
from texthead.models.heads import text_head

NAMES = ["a cat", "a dog", "a boat on a lake"]


@torch.no_grad()
def test_sentences_are_the_mean_of_their_own_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = bert(tmp_path / "bert", 16)
    text = sentences(source.removeprefix("text:"))
    assert text.width == 16
    rows = text(NAMES)
    for name, row in zip(NAMES, rows, strict=True):
        hidden = text.net.get_submodule("model")(torch.tensor(text.tokenize([name]))).last_hidden_state[0]
        assert torch.allclose(row, F.normalize(hidden.mean(0), dim=-1), atol=1e-5)
    monkeypatch.setattr("texthead.encoders.text_only.BATCH", 2)
    assert torch.allclose(text(NAMES[::-1]), rows.flip(0), atol=1e-5)
    with refuses(EncoderError, "'cat cat ", 13, 12):
        text(["cat " * 11])


@torch.no_grad()
@pytest.mark.parametrize("torchs", [False, True], ids=["safetensors", "bin"])
def test_hub_name_resolves_to_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torchs: bool) -> None:
    """The hub client's cache is read offline; shapes are compared with the weights', as for folders."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--somebody--words"
    folder = repository / "snapshots" / "0123"
    bert(folder, 16)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    if torchs:
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    assert torch.equal(sentences("somebody/words")(NAMES), sentences(folder)(NAMES))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 32}))
    with refuses(EncoderError, folder):
        sentences("somebody/words")
    with refuses(EncoderError, "'somebody/else'"):
        sentences("somebody/else")


@torch.no_grad()
def test_a_narrower_encoder_is_lifted(tmp_path: Path) -> None:
    source = bert(tmp_path / "bert", 16)
    encoder = pair(image_only(), source)
    rows, plain = encoder.encode_text(NAMES), sentences(source.removeprefix("text:"))(NAMES)
    assert rows.shape == (3, SPEC.dim)
    assert torch.allclose(rows @ rows.T, plain @ plain.T, atol=1e-5)
    other = pair(image_only(), source)
    assert torch.allclose(other.encode_text(NAMES[1:2]), rows[1:2], atol=1e-5), "depends on its own name only"
    assert torch.allclose(other.encode_text(NAMES[::-1]), rows.flip(0), atol=1e-5), "in any order"
    assert residual(encoder.text, lift(16, SPEC.dim), ["a tree"]) == pytest.approx(0, abs=1e-3)


@torch.no_grad()
def test_of_a_wider_encoder_the_map_is_fitted_and_saved(tmp_path: Path) -> None:
    source = bert(tmp_path / "bert", SPEC.dim + 32)
    with refuses(EncoderError, source, 288, 256):
        pair(image_only(), source)
    encoder = pair(image_only(), source, prompts=NAMES)
    rows, plain = encoder.encode_text(NAMES), sentences(source.removeprefix("text:"))(NAMES)
    assert torch.allclose(rows @ rows.T, plain @ plain.T, atol=1e-4)
    assert encoder.text_map is not None
    head = text_head(encoder, NAMES)
    assert (head.text_source, torch.equal(head.text_map, encoder.text_map)) == (source, True)  # pyright: ignore[reportArgumentType]
    again = pair(image_only(), source, text_map=head.text_map)
    assert torch.allclose(again.encode_text(NAMES), rows, atol=1e-5)
    assert residual(again.text, encoder.text_map, NAMES) == pytest.approx(0, abs=1e-3)
    assert 0 < residual(again.text, encoder.text_map, ["a tree"]) < 1
    other = bert(tmp_path / "other", 16)
    with refuses(EncoderError, other, 16, 288):
        pair(image_only(), other, text_map=head.text_map).encode_text(NAMES)


def test_maps_have_orthonormal_sides() -> None:
    assert torch.allclose(lift(5, 9) @ lift(5, 9).T, torch.eye(5), atol=1e-6)
    assert torch.equal(lift(5, 9), lift(5, 9))
    assert torch.equal(lift(3, 9), lift(5, 9)[:3])
    for count in (2, 6, 40):
        embeddings = F.normalize(noise(count, 12, seed=count), dim=-1)
        result = fitted_map(embeddings, 6)
        assert torch.allclose(result.T @ result, torch.eye(6), atol=1e-5)
        best = torch.linalg.svdvals(embeddings)[:6].square().sum()
        assert float((embeddings @ result).square().sum()) == pytest.approx(float(best), rel=1e-4), (
            "no six directions keep more"
        )
