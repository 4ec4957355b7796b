"""Folders of transformers models: incomplete weights, odd sizes, indices and revisions."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load, save_file

from made import write_clip_folder
from messages import refuses
from text_models import bert
from texthead.encoders.figures import published_figures
from texthead.encoders.hugging_face import list_models
from texthead.encoders.text_only import sentences
from texthead.encoders.transformers_model import folder_of
from texthead.errors import EncoderError


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    (tmp_path / "clip").mkdir()
    return write_clip_folder(tmp_path / "clip")


@pytest.fixture
def words(tmp_path: Path) -> Path:
    return Path(bert(tmp_path / "words", 16).removeprefix("text:"))


def change(file: Path, *keys: str, value: object) -> None:
    """Set a value in a JSON file."""
    values = node = json.loads(file.read_text())
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = value
    file.write_text(json.dumps(values))


def test_a_text_encoder_with_more_layers_than_its_weights(words: Path) -> None:
    """Layers without weights are refused, not initialised at random; a missing pooler is fine."""
    weights = load((words / "model.safetensors").read_bytes())  # Windows replaces no mapped file.
    kept = {name: tensor for name, tensor in weights.items() if "pooler" not in name}
    assert len(kept) < len(weights)
    save_file(kept, words / "model.safetensors", {"format": "pt"})
    assert sentences(words)(["a cat"]).shape == (1, 16)
    change(words / "config.json", "num_hidden_layers", value=3)
    with refuses(EncoderError, words, "encoder.layer.2"):
        sentences(words)


def test_revisions_with_weights(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """VideoPrism's main branches lack transformers' files: the pinned revision is taken, or the error says so."""
    asked: list[tuple[str, str | None]] = []
    (tmp_path / "flax").mkdir()

    def download(name: str, revision: str | None, allow_patterns: object) -> str:
        asked.append((name, revision))
        return str(clip if revision else tmp_path / "flax")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    pinned = {source: row["revision"] for source, row in published_figures().items() if "revision" in row}
    assert len(pinned) == 4
    for source, revision in pinned.items():
        name = source.removeprefix("hf:")
        assert len(revision) == 40
        assert dict(list_models())[source] == f"hub: {name}/tree/{revision}"
        assert folder_of(name) == clip
        assert asked.pop() == (name, revision)
    assert folder_of("google/videoprism-base-f16r288@refs/pr/1") == clip
    assert asked.pop() == ("google/videoprism-base-f16r288", "refs/pr/1")
    with refuses(EncoderError, "org/name", "model.safetensors", "'main'", "hf:org/name@REVISION"):
        folder_of("org/name")
