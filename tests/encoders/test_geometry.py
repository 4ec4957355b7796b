"""What an image processor or timm does to a picture is what an encoder's spec does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from torch import Tensor

from made import frames, smooth
from messages import refuses
from texthead.data.protocol import Pixels
from texthead.data.transforms import view_crops
from texthead.encoders import spec_of
from texthead.encoders.hugging_face import _coordinate_picture as coordinate_picture
from texthead.encoders.hugging_face import _measured_geometry as measured_geometry
from texthead.encoders.load import load_encoder
from texthead.errors import EncoderError
from texthead.models.heads import text_head

# A processor and its changed values. Some crop from `size / crop_pct`, some squash, from a size on or always.
PROCESSORS: list[tuple[str, dict[str, Any]]] = [
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
    ("PoolFormerImageProcessor", {}),
    ("LevitImageProcessor", {}),
    ("EfficientNetImageProcessor", {"include_top": False}),
    ("CLIPImageProcessor", {}),
    ("ViTImageProcessor", {}),
    ("MobileNetV2ImageProcessor", {}),
]


@pytest.mark.parametrize(("name", "values"), PROCESSORS, ids=str)
def test_a_measured_geometry_gives_the_processor_s_pixels(name: str, values: dict[str, Any]) -> None:
    processor = getattr(transformers, name)(do_normalize=False, **values)

    def processed(picture: Tensor) -> Tensor:
        return 255 * processor(picture.permute(1, 2, 0).numpy(), return_tensors="pt")["pixel_values"][0]

    interpolation = "bicubic" if int(processor.resample) == 3 else "bilinear"
    size, crop, squash = measured_geometry(processed(coordinate_picture()), interpolation, name)
    for height, width in ((300, 200), (240, 500), (230, 230)):
        picture = smooth(height=height, width=width)
        pixels = Pixels(size, round(size / crop), interpolation, squash, floor=True)
        assert (view_crops(picture[None], pixels)[0, 0] - processed(picture)).abs().mean() < 0.5
    for margin in () if squash else (1, 3, 5, 7):  # Half of it is cut off on each side; nothing is resized.
        height, width = pixels.resize, pixels.resize + margin
        picture = torch.from_numpy(np.random.default_rng(margin).integers(0, 256, (3, height, width), np.uint8))
        assert (view_crops(picture[None], pixels)[0, 0] - processed(picture)).abs().mean() < 0.5, margin


def test_padded_and_oblong_pictures_are_refused() -> None:
    padded = coordinate_picture()[:, :, 60:300].float()
    padded[:, :40] = 0
    with refuses(EncoderError, "hf:a", "crops the center"):
        measured_geometry(padded, "bicubic", "hf:a")
    with refuses(EncoderError, "hf:a", 360, 240, "squares"):
        measured_geometry(coordinate_picture().float(), "bicubic", "hf:a")


@pytest.mark.parametrize(
    "name",
    [
        "convnext_tiny.fb_in22k_ft_in1k_384",  # Squashed.
        "eva02_tiny_patch14_336.mim_in22k_ft_in1k",  # Squashed.
        "vit_tiny_patch16_224",  # 224 / 0.9 is 248.9: 248 pixels.
        "efficientnet_b1",
        "resnet18",
    ],
)
def test_pixels_of_timm_are_those_of_its_own_transform(name: str) -> None:
    pretrained: Any = timm.get_pretrained_cfg(name)
    transform: Any = create_transform(**resolve_data_config(pretrained_cfg=pretrained.to_dict()))
    spec = spec_of(f"timm:{name}")
    mean, std = (torch.tensor(each)[:, None, None] for each in (spec.mean, spec.std))
    for height, width in ((600, 400), (480, 1000)):
        picture = smooth(height=height, width=width)
        image = Image.fromarray(np.ascontiguousarray(picture.permute(1, 2, 0).numpy()))
        theirs = 255 * (transform(image) * std + mean)
        assert (view_crops(picture[None], spec.pixels())[0, 0] - theirs).abs().mean() < 0.5


def test_padding_of_timm_is_told() -> None:
    with pytest.warns(UserWarning, match="pad an image"):
        spec_of("timm:deepseek_vit_412m_enc")


def test_other_interpolations_of_timm_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for way in ("lanczos", "nearest"):
        pretrained: Any = timm.get_pretrained_cfg("test_vit")
        config = resolve_data_config(pretrained_cfg=pretrained.to_dict()) | {"interpolation": way}
        monkeypatch.setattr("timm.data.config.resolve_data_config", lambda *_, config=config, **__: config)
        with refuses(EncoderError, "timm:test_vit", way):
            spec_of("timm:test_vit")


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
