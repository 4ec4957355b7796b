"""Video classifiers in transformers' format: the same scores, and everything that a run can do."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from made import noise, write_video
from messages import prints, refuses
from text_models import bert
from texthead.apps.checkpoints.imported import import_classifier
from texthead.apps.checkpoints.temporal import NormedMean
from texthead.encoders.load import load_encoder
from texthead.errors import DataError, EncoderError, RunError
from texthead.models.temporal import VJEPA2Pool
from texthead.prediction.load import load_run

NAMES = ["Pushing [something]", "Pulling [something]", "push_up"]
FRAMES = 4

SIZES = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1, "patch_size": 8}
PREDICTOR = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
VIT = {**SIZES, "intermediate_size": 48, "image_size": 32, "num_frames": FRAMES}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "vjepa2": ("VJEPA2", {**SIZES, **PREDICTOR, "crop_size": 32, "frames_per_clip": FRAMES, "num_pooler_layers": 2}),
    "videomae": ("VideoMAE", VIT),
    "timesformer": ("Timesformer", VIT),
    "vivit": ("Vivit", {**VIT, "tubelet_size": [2, 8, 8]}),
}


def classifier(folder: Path, kind: str) -> Any:
    """Write a small random classifier and its processor, and return the model."""
    name, sizes = KINDS[kind]
    config = getattr(transformers, f"{name}Config")(**sizes, id2label=dict(enumerate(NAMES)))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{name}ForVideoClassification")(config).eval()
        for name, weight in model.named_parameters():  # Their start is nearly 0, and biases are 0.
            if not name.startswith(model.base_model_prefix):
                torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    processor = {"image_processor_type": "VideoMAEImageProcessor", "size": {"shortest_edge": 32}}
    processor["crop_size"] = {"height": 32, "width": 32}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return model


@torch.inference_mode()
def logits(model: Any, clips: Tensor) -> Tensor:
    return model(clips).logits


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_a_run_of_a_classifier_has_its_logits(kind: str, tmp_path: Path) -> None:
    published = classifier(tmp_path / "model", kind)
    _, labels = import_classifier(f"hf:{tmp_path / 'model'}", tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert (labels, run.labels) == (NAMES, tuple(NAMES))
    clips = noise(2, FRAMES, 3, 32, 32)
    assert torch.allclose(run.model(clips), logits(published, clips), atol=1e-4)
    modules = {"vjepa2": VJEPA2Pool, "videomae": NormedMean}
    assert isinstance(run.model.temporal, modules.get(kind, object))
    edited = run.head.with_rows(run.head.rows()[1:], NAMES[1:])  # pyright: ignore[reportOptionalSubscript]
    assert torch.equal(edited(noise(2, 32)), run.head(noise(2, 32))[:, 1:])


def test_what_is_no_such_classifier_is_refused(tmp_path: Path, refused) -> None:
    source = f"hf:{tmp_path / 'model'}"
    published = classifier(tmp_path / "model", "videomae")
    with refuses(DataError, 2, 3):
        import_classifier(source, tmp_path / "run", ["a", "b"])
    refused("--frames", "import", source, "--out", tmp_path / "run", "--frames", 8)
    refused("--classes", "import", tmp_path / "model.pt", "--out", tmp_path / "run")
    import_classifier(source, tmp_path / "run")
    with refuses(RunError, "already"):
        import_classifier(source, tmp_path / "run")
    published.videomae.save_pretrained(tmp_path / "tower")
    (tmp_path / "tower" / "preprocessor_config.json").write_text("{}")
    with refuses(EncoderError, "VideoMAEModel"):
        import_classifier(f"hf:{tmp_path / 'tower'}", tmp_path / "other")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vjepa2", "videomae"])
def test_commands_on_a_classifier(kind: str, tmp_path: Path, works) -> None:
    """`import`, `predict`, `export`, and text rows in place of its own; the others on clips: test_clip_encoders.py."""
    classifier(tmp_path / "model", kind)
    source, run = f"hf:{tmp_path / 'model'}", tmp_path / "run"
    prints(works("import", source, "--out", run)[1], "3 classes", f"{FRAMES} frames")
    video = write_video(tmp_path / "a.mp4", "red", frames=9)
    (predicted,) = json.loads(works("predict", run, video, "--json")[0])
    assert {top["name"] for top in predicted["top"]} == {*NAMES}
    out = works("export", run, "--out", tmp_path / "exported")[0]
    assert float(out.partition("at most ")[2].split(",")[0]) < 1e-4
    loaded = load_run(run)
    other = loaded.with_classes(["cat", "dog"], encoder=load_encoder(source, text=bert(tmp_path / "bert", 16)))
    assert (other.labels, other.head.kind) == (("cat", "dog"), "text")
    assert other.model.temporal is loaded.model.temporal
    assert other.model(noise(1, FRAMES, 3, 32, 32)).shape == (1, 2)
