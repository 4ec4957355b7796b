"""open_clip models from files and tags match open_clip's own output."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from safetensors.torch import save_file
from torch import Tensor

from made import frames
from messages import refuses
from text_models import TEXT, TOWERS
from texthead import Encoder, VisualEncoder, load_encoder
from texthead.data import Pixels
from texthead.encoders import build_visual, spec_of
from texthead.encoders.spec import VisualSpec
from texthead.errors import EncoderError


def reference(name: str, path: Path, **options) -> torch.nn.Module:
    """Return the model as open_clip builds it."""
    model = open_clip.create_model(name, **options).eval()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model


def normalised(inputs: Tensor) -> Tensor:
    """Normalise frames as for OpenAI's CLIP."""
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    return (inputs / 255 - mean[:, None, None]) / std[:, None, None]


def rebuild(visual: VisualEncoder) -> VisualEncoder:
    """Build the tower from its spec alone, as a run does, and give it the same weights."""
    again = build_visual(VisualSpec.from_json(json.loads(json.dumps(visual.spec.to_json()))))
    again.load_state_dict(visual.state_dict())
    return again.eval()


@torch.no_grad()
def assert_same(encoder: Encoder, model: torch.nn.Module) -> None:
    """Check both halves against the reference."""
    inputs, prompts = normalised(frames(2, 32)), ["a cat", "two dogs on a photo"]
    assert torch.allclose(encoder.visual(inputs), model.encode_image(inputs), atol=1e-5)  # pyright: ignore[reportCallIssue]
    tokens = open_clip.get_tokenizer("tiny-vit")(prompts)
    assert torch.allclose(encoder.encode_text(prompts), model.encode_text(tokens), atol=1e-5)  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("name", TOWERS)
@torch.no_grad()
def test_an_open_clip_file(published, name):
    source = f"openclip:{name}/{published / name}.pt"
    encoder, model = load_encoder(source), reference(name, published / f"{name}.pt")
    size = TOWERS[name]["vision_cfg"]["image_size"]
    assert (encoder.source, encoder.dim, encoder.visual.spec.size) == (source, 24, size)
    assert encoder.scale == pytest.approx(np.exp(3.2), rel=1e-5)
    assert encoder.center is None
    inputs = frames(3, size)
    expected = model.encode_image(normalised(inputs))
    assert expected.shape == (3, 24)
    assert torch.allclose(encoder.visual(inputs), expected, atol=1e-5)
    assert torch.allclose(encoder.visual(normalised(inputs)), expected, atol=1e-5)
    prompts = ["a cat", "a photo of two dogs", "!?!?"]
    rows = model.encode_text(open_clip.get_tokenizer(name)(prompts))
    assert rows.shape == (3, 24)
    unit = F.normalize(rows, dim=-1)
    assert (unit @ unit.T - torch.eye(3)).max() < 0.9999
    assert torch.allclose(encoder.encode_text(prompts), rows, atol=1e-5)
    # Each row depends only on its own prompt. Use a new encoder, because encoded prompts are cached.
    other = load_encoder(source)
    assert torch.allclose(other.encode_text(prompts[2:0:-1]), rows[[2, 1]], atol=1e-5)
    assert torch.allclose(other.encode_text(prompts[:1]), rows[:1], atol=1e-5)
    assert torch.equal(rebuild(encoder.visual)(inputs), encoder.visual(inputs))


@torch.no_grad()
def test_openai_s_activation_is_taken_from_the_file_s_name(published, tmp_path):
    path = tmp_path / "my-OpenAI-weights.pt"
    path.write_bytes((published / "tiny-vit.pt").read_bytes())
    encoder = load_encoder(f"openclip:tiny-vit/{path}")
    inputs = frames(2, 32)
    models = (reference("tiny-vit", path, force_quick_gelu=quick) for quick in (True, False))
    quick, plain = (model.encode_image(normalised(inputs)) for model in models)
    assert (quick - plain).abs().max() > 1e-3
    assert torch.allclose(encoder.visual(inputs), quick, atol=1e-5)
    assert encoder.visual.spec.activation == "quick_gelu"
    assert torch.allclose(rebuild(encoder.visual)(inputs), quick, atol=1e-5)


def test_a_file_that_does_not_say_its_activation_is_asked_about(published, tmp_path, monkeypatch):
    """Plain tensors of an architecture that open_clip publishes with both activations."""
    config = {**TOWERS["tiny-vit"], "embed_dim": 24, "text_cfg": TEXT}
    for name in ("tiny-both", "tiny-both-quickgelu"):
        (tmp_path / f"{name}.json").write_text(json.dumps({**config, "quick_gelu": name.endswith("quickgelu")}))
    open_clip.add_model_config(tmp_path)
    path = published / "tiny-vit.pt"
    with refuses(EncoderError, "tiny-both", "-quickgelu/FILE", "-gelu/FILE"):
        load_encoder(f"openclip:tiny-both/{path}")
    for name, quick in (("tiny-both-quickgelu", True), ("tiny-both-gelu", False)):
        encoder = load_encoder(f"openclip:{name}/{path}")
        assert encoder.visual.spec.activation == ("quick_gelu" if quick else "gelu")
        assert_same(encoder, reference("tiny-vit", path, force_quick_gelu=quick))
    own = tmp_path / "own.pt"
    torch.save({**torch.load(path, weights_only=True), "input_resolution": torch.tensor(32)}, own)
    assert load_encoder(f"openclip:tiny-both/{own}").visual.spec.activation == "quick_gelu"


@pytest.mark.parametrize(("tag", "quick"), [("openai", True), ("laion", False)])
def test_a_tag_decides_the_activation(published, monkeypatch, tag, quick):
    """open_clip only warns when a tag was trained with QuickGELU and the architecture's name does not say so."""
    tags = {
        "openai": {"url": "https://x/a.pt", "quick_gelu": True},
        "laion": {"url": "https://x/b.pt", "mean": (0.5,) * 3},
    }
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-vit", tags)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda *_, **__: str(published / "tiny-vit.pt"))
    monkeypatch.setattr("texthead.downloads._problem", lambda server: "")
    encoder = load_encoder(f"openclip:tiny-vit/{tag}")
    assert encoder.visual.spec.activation == ("quick_gelu" if quick else "gelu")
    assert_same(encoder, reference("tiny-vit", published / "tiny-vit.pt", force_quick_gelu=quick))
    # A tag may also have pixel statistics of its own.
    assert encoder.visual.spec.mean == ((0.48145466, 0.4578275, 0.40821073) if quick else (0.5, 0.5, 0.5))


def test_a_prompt_with_too_many_tokens(published):
    encoder = load_encoder(f"openclip:tiny-vit/{published / 'tiny-vit.pt'}")
    # 16 tokens, including the start and end tokens.
    assert encoder.encode_text(["cat " * 14]).shape == (1, 24)
    with refuses(EncoderError, "'cat cat ", 17, 16):
        encoder.encode_text(["a dog", "cat " * 15])
    with refuses(EncoderError, "'cat cat ", "> 16"):
        encoder.encode_text(["cat " * 500])
    # "!" inside a word is token 0, which is also the padding.
    with refuses(EncoderError, "!a!a", 16):
        encoder.encode_text(["!a" * 10])


@pytest.mark.parametrize(
    ("rest", "parts"),
    [
        ("no-such-model/openai", ["'no-such-model'"]),
        ("tiny-vit", ["openclip:tiny-vit/FILE"]),
        ("ViT-B-16", ["openclip:ViT-B-16/TAG", "openai, "]),
        ("tiny-vit/missing.pt", ["'missing.pt'", "tiny-vit"]),
        ("tiny-vit/{folder}/tiny-resnet.pt", ["tiny-resnet.pt", "shape"]),
    ],
)
def test_open_clip_models_that_cannot_be_loaded(published, rest, parts):
    with refuses(EncoderError, *parts):
        load_encoder(f"openclip:{rest.format(folder=published)}")


# open_clip's own list, by the architectures of the installed version.
TAGS = {name: open_clip.list_pretrained_tags_by_model(name) for name, _ in open_clip.list_pretrained()}


def test_each_tag_has_its_own_preprocessing():
    assert sum(map(len, TAGS.values())) > 150
    for name, tags in TAGS.items():
        for tag in tags:
            size = open_clip.get_model_config(name)["vision_cfg"]["image_size"]  # pyright: ignore[reportOptionalSubscript]
            base, changes = PreprocessCfg(size=size), open_clip.get_pretrained_cfg(name, tag)
            spec, own = spec_of(f"openclip:{name}/{tag}"), PreprocessCfg(**merge_preprocess_dict(base, changes))
            assert spec.pixels() == Pixels(own.size, own.size, own.interpolation, own.resize_mode == "squash"), name  # pyright: ignore[reportArgumentType]
            assert (spec.mean, spec.std) == (own.mean, own.std), (name, tag)


def test_a_folder_in_open_clip_s_format(published, tmp_path):
    config = {"embed_dim": 24, "text_cfg": TEXT, **TOWERS["tiny-vit"], "quick_gelu": True}

    def describe(**preprocess: object) -> None:
        described = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "interpolation": "bilinear"}}
        described["preprocess_cfg"] |= preprocess
        (tmp_path / "open_clip_config.json").write_text(json.dumps(described))

    describe()
    source = f"openclip:local-dir:{tmp_path}"
    with refuses(EncoderError, tmp_path, "open_clip_model.safetensors"):
        load_encoder(source)
    save_file(torch.load(published / "tiny-vit.pt", weights_only=True), tmp_path / "open_clip_model.safetensors")
    encoder = load_encoder(source)
    assert encoder.visual.spec == spec_of(source)
    assert (encoder.visual.spec.mean, encoder.visual.spec.interpolation) == ((0.5,) * 3, "bilinear")
    assert_same(encoder, reference("tiny-vit", published / "tiny-vit.pt", force_quick_gelu=True))
    inputs = frames(2, 32)
    with torch.no_grad():
        assert torch.equal(rebuild(encoder.visual)(inputs), encoder.visual(inputs)), "needs no folder"
    describe(resize_mode="longest")
    with pytest.warns(UserWarning, match="'longest'"):
        load_encoder(source)
    describe(resize_mode="squash")
    spec = load_encoder(source).visual.spec
    assert spec.squash
    assert spec.pixels() == Pixels(32, 32, "bilinear", squash=True)
    for content in (None, "{", "[]", "{}"):
        (tmp_path / "open_clip_config.json").unlink(missing_ok=True)
        if content:
            (tmp_path / "open_clip_config.json").write_text(content)
        with refuses(EncoderError, tmp_path, "open_clip_config.json"):
            load_encoder(source)


def saved(folder: Path, name: str, **config: Any) -> str:
    """Register an architecture in open_clip and save a random model of it; return its source."""
    (folder / f"{name}.json").write_text(json.dumps({"embed_dim": 24, "custom_text": True, **config}))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    torch.save(open_clip.create_model(name).state_dict(), folder / f"{name}.pt")
    return f"openclip:{name}/{folder / name}.pt"


@torch.no_grad()
def test_a_model_that_also_writes_captions(tmp_path):
    """CoCa: its image tower gives tokens too, and its text tower has a class token."""
    pool = {"head_width": 32, "output_tokens": True, "attentional_pool": True, "attn_pooler_heads": 4}
    source = saved(
        tmp_path,
        "tiny-coca",
        vision_cfg={**TOWERS["tiny-vit"]["vision_cfg"], **pool},
        text_cfg={**TEXT, "context_length": 15, "embed_cls": True, "output_tokens": True},
        multimodal_cfg={"context_length": 15, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 1},
    )
    encoder, model = load_encoder(source), reference("tiny-coca", tmp_path / "tiny-coca.pt")
    inputs, prompts = frames(2, 32), ["a cat", "two dogs"]
    image, rows = F.normalize(encoder.visual(inputs), dim=-1), F.normalize(encoder.encode_text(prompts), dim=-1)
    assert torch.allclose(image, model.encode_image(normalised(inputs)), atol=1e-5)  # pyright: ignore[reportCallIssue]
    tokens = open_clip.get_tokenizer("tiny-coca")(prompts)
    assert torch.allclose(rows, model.encode_text(tokens), atol=1e-5)  # pyright: ignore[reportCallIssue]


@torch.no_grad()
def test_logits_of_an_encoder_trained_with_a_sigmoid(tmp_path):
    """SigLIP: scale * cosine + bias, as open_clip's own forward gives them."""
    text = {**TEXT, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
    source = saved(
        tmp_path, "tiny-sigmoid", init_logit_bias=-10, vision_cfg=TOWERS["tiny-vit"]["vision_cfg"], text_cfg=text
    )
    encoder, model = load_encoder(source), reference("tiny-sigmoid", tmp_path / "tiny-sigmoid.pt", output_dict=True)
    assert encoder.bias == -10
    inputs, prompts = frames(3, 32), ["a cat", "two dogs"]
    result = model(normalised(inputs), open_clip.get_tokenizer("tiny-sigmoid")(prompts))
    expected = result["logit_scale"] * result["image_features"] @ result["text_features"].T + result["logit_bias"]
    logits = encoder.logits(encoder.visual(inputs), encoder.encode_text(prompts))
    assert torch.allclose(logits, expected, atol=1e-4)
    assert torch.allclose(logits.softmax(-1), (logits - encoder.bias).softmax(-1), atol=1e-6)
