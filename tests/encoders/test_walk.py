"""Every architecture of the installed open_clip is built."""

import open_clip
import pytest
import torch

from texthead.encoders import build_visual, figures_of, spec_of


@pytest.mark.nightly("src/texthead/encoders")
@pytest.mark.parametrize("name", open_clip.list_models())
@torch.no_grad()
def test_every_architecture_of_open_clip_is_built(name: str) -> None:
    """On the device "meta"; where it has weights, size and parameters are those in the table of figures."""
    spec, tags = spec_of(f"openclip:{name}"), open_clip.list_pretrained_tags_by_model(name)
    with torch.device("meta"):
        assert build_visual(spec).eval().net(torch.zeros(1, 3, spec.size, spec.size)).shape == (1, spec.dim)
        about = figures_of(f"openclip:{name}/{next(iter(tags), '')}", "")
        config = open_clip.get_model_config(name) or {}
        if tags and "hf_model_name" not in config["text_cfg"]:  # Those need a configuration from the hub.
            kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
            model = (open_clip.CoCa if "multimodal_cfg" in config else kind)(**config)
            assert about.parameters == pytest.approx(sum(each.numel() for each in model.parameters()), rel=1e-3)
    assert not tags or about.size == spec.size
