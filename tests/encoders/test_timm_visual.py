"""timm's encoders match timm's own output."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from made import frames
from messages import refuses
from texthead.encoders.load import load_encoder
from texthead.errors import EncoderError
from texthead.models.heads import text_head


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit", "test_convnext", "resnet10t"])
def test_features_are_timm_s_own(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    encoder = load_encoder(f"timm:{name}/{tmp_path / 'a.safetensors'}")
    spec = encoder.visual.spec
    data = timm.data.resolve_model_data_config(model)
    assert (spec.mean, spec.std, spec.size) == (data["mean"], data["std"], data["input_size"][1])
    inputs = frames(2, spec.size)
    mean, std = torch.tensor(spec.mean)[:, None, None], torch.tensor(spec.std)[:, None, None]
    with torch.no_grad():
        expected = model.forward_head(model.forward_features((inputs / 255 - mean) / std), pre_logits=True)
        result = encoder.visual(inputs)
    assert result.shape == (2, encoder.dim)
    assert torch.allclose(result, expected, atol=1e-5)
    with refuses(EncoderError, encoder.source):
        text_head(encoder, ["a", "b"])
