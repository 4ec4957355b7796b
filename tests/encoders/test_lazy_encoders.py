"""Encoders that are loaded on first use."""

import copy
from pathlib import Path

import pytest
import torch

from families import save_family
from made import frames
from texthead import load_encoder
from texthead.encoders import lazy
from texthead.encoders.lazy import LazyEncoder
from texthead.errors import EncoderError


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path / "cache"))
    save_family(tmp_path / "clip", "clip")
    return f"hf:{tmp_path / 'clip'}"


def is_loaded(encoder: LazyEncoder) -> bool:
    return encoder._loaded.cache_info().currsize > 0


def test_a_known_encoder_is_loaded_on_first_use(source: str) -> None:
    eager = load_encoder(source, lazy=True)
    assert not isinstance(eager, LazyEncoder), "the digest of its weights is not known yet"
    encoder = load_encoder(source, lazy=True)
    assert isinstance(encoder, LazyEncoder)
    assert (encoder.dim, encoder.source, encoder.visual.spec) == (eager.dim, source, eager.visual.spec)
    assert lazy.weights_digest(encoder.visual) == lazy.weights_digest(eager.visual)
    assert (encoder.scale, encoder.bias, encoder.center, encoder.has_text) == (eager.scale, eager.bias, None, True)
    state, same = encoder.visual.state_dict(), eager.visual.state_dict()
    assert state.keys() == same.keys()
    assert all(torch.equal(state[key], same[key]) for key in same)
    assert not is_loaded(encoder)
    pictures = frames(2, 32)
    assert torch.equal(encoder.visual.eval()(pictures), eager.visual.eval()(pictures))
    assert torch.equal(encoder.encode_text(["a cat"]), eager.encode_text(["a cat"]))


def test_a_copy_has_weights_of_its_own(source: str) -> None:
    load_encoder(source, lazy=True)
    encoder = load_encoder(source, lazy=True)
    for weight in copy.deepcopy(encoder.visual).parameters():
        weight.data.zero_()
    assert all(weight.abs().sum() > 0 for weight in encoder.visual.parameters() if weight.ndim > 1)


def test_a_kept_state_with_other_values_is_not_used(source: str) -> None:
    eager = load_encoder(source, lazy=True)
    (kept,) = Path(lazy.cache_dir(), "engines").glob("*.safetensors")
    data = kept.read_bytes()
    kept.write_bytes(data[:-400] + bytes(400))
    state, same = load_encoder(source, lazy=True).visual.state_dict(), eager.visual.state_dict()
    assert all(torch.equal(state[key], same[key]) for key in same)


def test_in_another_precision_it_has_another_digest(source: str) -> None:
    """Else the features of a run in bfloat16 are found in the cache of the one in single precision."""
    load_encoder(source, lazy=True)
    encoder, again = load_encoder(source, lazy=True), load_encoder(source, lazy=True)
    digest = lazy.weights_digest(encoder.visual)
    assert lazy.weights_digest(encoder.visual.bfloat16()) != digest
    assert lazy.weights_digest(again.visual.to("cpu")) == digest
    assert not is_loaded(again)
    assert again.visual.double()(frames(1, 32)).dtype == torch.float64
    assert again.visual.digest is None, "its weights may change now"


def test_texts_are_encoded_once(source: str, tmp_path: Path) -> None:
    eager = load_encoder(source, lazy=True)
    first, again = load_encoder(source, lazy=True), load_encoder(source, lazy=True)
    rows = first.familiarity_scaled_rows(["a cat", "dog"], ["a cat", ["dog", "a dog"]])
    assert is_loaded(first)
    assert torch.equal(again.familiarity_scaled_rows(["a cat", "dog"], ["a cat", ["dog", "a dog"]]), rows)
    assert not is_loaded(again)
    assert torch.equal(eager.familiarity_scaled_rows(["a cat", "dog"], ["a cat", ["dog", "a dog"]]), rows)
    for damaged in (tmp_path / "cache" / "texts").iterdir():
        damaged.write_bytes(b"?")
    late = load_encoder(source, lazy=True)
    for encoder in (again, late):
        assert torch.equal(encoder.familiarity_scaled_rows(["a cat", "dog"], ["a cat", ["dog", "a dog"]]), rows)
    assert is_loaded(late)


def test_weights_that_change_are_noticed(source: str, tmp_path: Path) -> None:
    load_encoder(source, lazy=True)
    (tmp_path / "clip" / "model.safetensors").touch()
    assert not isinstance(load_encoder(source, lazy=True), LazyEncoder)


def test_other_weights_from_a_hub_are_an_error_once(source: str) -> None:
    """A hub may give other weights while no file changes that the source names."""
    load_encoder(source, lazy=True)
    (known,) = Path(lazy.cache_dir(), "engines", "weights").iterdir()
    known.write_text(known.read_text().replace('"weights": "', '"weights": "0'))
    encoder = load_encoder(source, lazy=True)
    with pytest.raises(EncoderError, match="weights have changed"):
        encoder.encode_text(["a cat"])
    assert len(load_encoder(source, lazy=True).encode_text(["a cat"])) == 1


def test_an_encoder_loaded_in_inference_mode_can_be_trained(source: str) -> None:
    load_encoder(source, lazy=True)
    encoder = load_encoder(source, lazy=True)
    with torch.inference_mode():
        encoder.visual(frames(1, 32))
    encoder.visual(frames(1, 32)).sum().backward()
    assert any(weight.grad is not None for weight in encoder.visual.parameters())
