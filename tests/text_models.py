"""Small text encoders and open_clip models, saved in their libraries' formats."""

import json
from collections.abc import Sequence
from pathlib import Path

import open_clip
import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, BertTokenizerFast

from made import SPEC, noise, tiny_visual
from texthead.encoders.encoder import Encoder, TextEncoder


def bert(folder: Path, width: int) -> str:
    """Write a small text encoder in transformers' format, and return its source."""
    folder.mkdir(parents=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog", "boat", "on", "lake", "tree"]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=12).save_pretrained(folder)
    torch.manual_seed(width)
    sizes = {"hidden_size": width, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=16, **sizes)).save_pretrained(folder)
    return f"text:{folder}"


def image_only() -> Encoder:
    return Encoder(tiny_visual(), None, scale=10.0)


def prompt_rows(prompts: Sequence[str]) -> Tensor:
    """Encode each prompt as a row that depends only on its characters."""
    return torch.stack([noise(SPEC.dim, seed=sum(map(ord, prompt))) for prompt in prompts])


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """An encoder whose texts have the rows of `prompt_rows`."""
    return Encoder(tiny_visual(), lambda: TextEncoder(nn.Identity(), list, prompt_rows, nn.Identity()), scale=21.0)


TEXT = {"context_length": 16, "width": 64, "heads": 2, "layers": 2, "vocab_size": 49408}
TOWERS = {
    "tiny-vit": {"vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16}},
    "tiny-resnet": {"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}},
    # Like SigLIP: a timm tower, and a text tower in its own module.
    "tiny-timm": {
        "custom_text": True,
        "vision_cfg": {"timm_model_name": "resnet10t", "timm_pool": "avg", "timm_proj": "linear", "image_size": 64},
    },
}


@pytest.fixture(scope="session")
def published(tmp_path_factory) -> Path:
    """A folder of tiny open_clip models NAME.pt, with registered architectures."""
    folder = tmp_path_factory.mktemp("openclip")
    for name, config in TOWERS.items():
        (folder / f"{name}.json").write_text(json.dumps({"embed_dim": 24, "text_cfg": TEXT, **config}))
    open_clip.add_model_config(folder)
    for seed, name in enumerate(TOWERS):
        torch.manual_seed(seed)
        model = open_clip.create_model(name)
        with torch.no_grad():
            model.logit_scale.fill_(3.2)
        torch.save(model.state_dict(), folder / f"{name}.pt")
    return folder
