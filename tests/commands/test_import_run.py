"""Published checkpoints give what a plain reading of their programs gives, from the video to the probabilities."""

import json
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from made import noise, write_video
from texthead import cli
from texthead.encoders import published
from texthead.encoders.openclip import save_openclip
from texthead.encoders.published import ACTIONCLIP_TEMPLATES, model_config, temporal_heads
from texthead.media.open import open_media
from texthead.runs.run import load_run

NAMES = ["ApplyEyeMakeup", "playing guitar", "Archery"]


# --- files, written with the keys and shapes of the published ones --------------------------------------------------


@dataclass(frozen=True)
class Sizes:
    """Of a CLIP with a ViT."""

    width: int = 64
    layers: int = 2
    patch: int = 16
    image: int = 32
    dim: int = 64
    text_width: int = 128
    text_layers: int = 2


TINY = Sizes()
B32 = Sizes(768, 12, 32, 224, 512, 512, 12)


def block(prefix: str, width: int, seed: int) -> dict[str, Tensor]:
    shapes = {
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        "attn.out_proj.weight": (width, width),
        "attn.out_proj.bias": (width,),
        "ln_1.weight": (width,),
        "ln_1.bias": (width,),
        "mlp.c_fc.weight": (4 * width, width),
        "mlp.c_fc.bias": (4 * width,),
        "mlp.c_proj.weight": (width, 4 * width),
        "mlp.c_proj.bias": (width,),
        "ln_2.weight": (width,),
        "ln_2.bias": (width,),
    }
    scale = {2: width**-0.5, 1: 0.1}
    found = {f"{prefix}.{k}": scale[len(s)] * noise(*s, seed=seed + i) for i, (k, s) in enumerate(shapes.items())}
    return {k: v + 1 if k.endswith(("ln_1.weight", "ln_2.weight")) else v for k, v in found.items()}


def image_tower(s: Sizes, seed: int) -> dict[str, Tensor]:
    tokens = (s.image // s.patch) ** 2 + 1
    found = {
        "visual.class_embedding": noise(s.width, seed=seed),
        "visual.positional_embedding": 0.3 * noise(tokens, s.width, seed=seed + 1),
        "visual.proj": s.width**-0.5 * noise(s.width, s.dim, seed=seed + 2),
        "visual.conv1.weight": 0.05 * noise(s.width, 3, s.patch, s.patch, seed=seed + 3),
        "visual.ln_pre.weight": 1 + 0.1 * noise(s.width, seed=seed + 4),
        "visual.ln_pre.bias": 0.1 * noise(s.width, seed=seed + 5),
        "visual.ln_post.weight": 1 + 0.1 * noise(s.width, seed=seed + 6),
        "visual.ln_post.bias": 0.1 * noise(s.width, seed=seed + 7),
    }
    for i in range(s.layers):
        found |= block(f"visual.transformer.resblocks.{i}", s.width, seed + 100 * (i + 1))
    return found


def text_tower(s: Sizes, seed: int) -> dict[str, Tensor]:
    found = {
        "positional_embedding": 0.1 * noise(77, s.text_width, seed=seed),
        "text_projection": s.text_width**-0.5 * noise(s.text_width, s.dim, seed=seed + 1),
        "token_embedding.weight": noise(49408, s.text_width, seed=seed + 2),
        "ln_final.weight": 1 + 0.1 * noise(s.text_width, seed=seed + 3),
        "ln_final.bias": 0.1 * noise(s.text_width, seed=seed + 4),
    }
    for i in range(s.text_layers):
        found |= block(f"transformer.resblocks.{i}", s.text_width, seed + 100 * (i + 1))
    return found


def clip(s: Sizes, seed: int) -> dict[str, Tensor]:
    scale = {"logit_scale": torch.tensor(3.9)}
    return {**image_tower(s, seed), **text_tower(s, seed + 5000), **scale}


def fusion(s: Sizes, seed: int) -> dict[str, Tensor]:
    found = {"frame_position_embeddings.weight": 0.3 * noise(77, s.dim, seed=seed)}
    for i in range(6):
        found |= block(f"transformer.resblocks.{i}", s.dim, seed + 100 * (i + 1))
    return found


def original(s: Sizes, folder: Path) -> tuple[str, dict[str, Tensor]]:
    """The model that a file was tuned from."""
    weights = clip(s, seed=90_000)
    save_openclip(folder, model_config(weights, "x"), weights)
    return f"openclip:local-dir:{folder}", weights


OPTIMIZER = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 5e-5}]}


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in tensors.items()}


def text4vis(path: Path, s: Sizes, seed: int = 0, **more: Tensor) -> dict[str, Tensor]:
    model = {**image_tower(s, seed), "logit_scale": torch.tensor(4.2), **prefixed("fusion_model.", fusion(s, seed + 9))}
    model |= more
    torch.save({"epoch": 29, "model_state_dict": model, "optimizer_state_dict": OPTIMIZER}, path)
    return model


def half(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As ActionCLIP stores them: linear and convolution weights in half precision."""
    halved = ("attn.", "mlp.", "conv1.weight", "visual.proj", "text_projection")
    return {k: v.half() if any(part in k for part in halved) else v for k, v in tensors.items()}


def actionclip(path: Path, s: Sizes, seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    model, head = half(clip(s, seed)), prefixed("module.", fusion(s, seed + 9))
    saved = {"epoch": 49, "model_state_dict": model, "fusion_model_state_dict": head, "optimizer_state_dict": OPTIMIZER}
    torch.save(saved, path)
    return model, head


def save_with_settings(path: Path, content: dict) -> None:
    """With a CfgNode beside the content, as yacs pickles it, whether or not there is a yacs."""
    package, module = types.ModuleType("yacs"), types.ModuleType("yacs.config")
    node = type("CfgNode", (dict,), {"__module__": "yacs.config"})
    module.CfgNode = node  # pyright: ignore[reportAttributeAccessIssue]
    package.config = module  # pyright: ignore[reportAttributeAccessIssue]
    made = node(MODEL=node(ARCH="ViT-B/32"))
    made.__dict__["__immutable__"] = True
    with mock.patch.dict(sys.modules, {"yacs": package, "yacs.config": module}):
        torch.save({**content, "config": made}, path)


def vifi(path: Path, s: Sizes, seed: int = 0, **more: Tensor) -> dict[str, Tensor]:
    image, text = image_tower(s, seed), text_tower(s, seed + 5000)
    del text["token_embedding.weight"]
    model = prefixed("module.image_encoder.", {k.removeprefix("visual."): v for k, v in image.items()})
    model |= prefixed("module.text_encoder.", text) | {"module.logit_scale": torch.tensor(3.5)}
    model["module.prompt_learner.complete_text_embeddings"] = noise(4, 77, s.text_width)
    model |= more
    saved = {"model": model, "optimizer": OPTIMIZER, "lr_scheduler": {}, "max_accuracy": 71.0, "epoch": 9}
    save_with_settings(path, saved)
    return model


# --- a plain reading -------------------------------------------------------------------------------------------------


def attention(x: Tensor, w: dict[str, Tensor], p: str, heads: int, mask: Tensor | None = None) -> Tensor:
    batch, length, width = x.shape
    q, k, v = (x @ w[f"{p}.attn.in_proj_weight"].float().T + w[f"{p}.attn.in_proj_bias"].float()).chunk(3, dim=-1)
    q, k, v = (part.view(batch, length, heads, width // heads).transpose(1, 2) for part in (q, k, v))
    scores = q @ k.transpose(-1, -2) / (width // heads) ** 0.5
    y = (scores if mask is None else scores + mask).softmax(-1) @ v
    y = y.transpose(1, 2).reshape(batch, length, width)
    return y @ w[f"{p}.attn.out_proj.weight"].float().T + w[f"{p}.attn.out_proj.bias"].float()


def norm(x: Tensor, w: dict[str, Tensor], p: str, eps: float = 1e-5) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + eps).sqrt() * w[
        f"{p}.weight"
    ].float() + w[f"{p}.bias"].float()


def mlp(x: Tensor, w: dict[str, Tensor], p: str) -> Tensor:
    y = x @ w[f"{p}.mlp.c_fc.weight"].float().T + w[f"{p}.mlp.c_fc.bias"].float()
    y = y * torch.sigmoid(1.702 * y)
    return y @ w[f"{p}.mlp.c_proj.weight"].float().T + w[f"{p}.mlp.c_proj.bias"].float()


Stream = Callable[[Tensor, int], Tensor]


def blocks(
    x: Tensor,
    w: dict[str, Tensor],
    p: str,
    heads: int,
    *,
    mask: Tensor | None = None,
    eps: float = 1e-5,
    on: Stream | None = None,
) -> Tensor:
    for i in range(len({key[len(p) :].split(".")[0] for key in w if key.startswith(p)})):
        x = on(x, i) if on else x
        x = x + attention(norm(x, w, f"{p}{i}.ln_1", eps), w, f"{p}{i}", heads, mask)
        x = on(x, i) if on else x
        x = x + mlp(norm(x, w, f"{p}{i}.ln_2", eps), w, f"{p}{i}")
    return x


def encode_image(w: dict[str, Tensor], pixels: Tensor, on: Stream | None = None) -> Tensor:
    kernel = w["visual.conv1.weight"].float()
    x = F.conv2d(pixels, kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
    x = torch.cat([w["visual.class_embedding"].float().expand(len(x), 1, -1), x], 1) + w["visual.positional_embedding"]
    x = norm(x.float(), w, "visual.ln_pre")
    x = blocks(x, w, "visual.transformer.resblocks.", x.shape[-1] // 64, on=on)
    return norm(x[:, 0], w, "visual.ln_post") @ w["visual.proj"].float()


def encode_text(w: dict[str, Tensor], prompts: list[str]) -> Tensor:
    tokens = open_clip.get_tokenizer("ViT-B-32")(prompts)
    x = w["token_embedding.weight"][tokens] + w["positional_embedding"]
    mask = torch.full((77, 77), -torch.inf).triu(1)
    x = norm(blocks(x, w, "transformer.resblocks.", x.shape[-1] // 64, mask=mask), w, "ln_final")
    return x[torch.arange(len(x)), tokens.argmax(-1)] @ w["text_projection"].float()


def transf(w: dict[str, Tensor], frames: Tensor, heads: int) -> Tensor:
    """The temporal transformer of Text4Vis and ActionCLIP."""
    x = frames + w["frame_position_embeddings.weight"][: frames.shape[1]].float()
    return (blocks(x, w, "transformer.resblocks.", heads, eps=1e-12) + frames).mean(1)


CLIP_PIXELS = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_PIXELS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def looked_at(
    video: Path, indices: list[int], boxes: list[tuple[int, int]], size: int, statistics: tuple, short: int = 48
) -> Tensor:
    """(crops, frames, 3, size, size), normalised, of the square video at `short` pixels."""
    with open_media(video) as media:
        frames = media.frames_at(indices)
    if short != frames.shape[-1]:
        frames = F.interpolate(frames, (short, short), mode="bilinear", antialias=True)
    frames = frames.float() / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in statistics)
    return torch.stack([(frames[:, :, y : y + size, x : x + size] - mean) / std for x, y in boxes])


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


# --- a run of a file -------------------------------------------------------------------------------------------------


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """19 frames of 48x48."""
    return write_video(tmp_path / "clip.mp4", "red", frames=19)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    path = tmp_path / "names.csv"
    path.write_bytes(b"id,name\r\n" + b"".join(f"{i},{name}\r\n".encode() for i, name in enumerate(NAMES)))
    return path


def imported(*arguments: object) -> int:
    return cli.main(["import", *(str(argument) for argument in arguments)])


def predicted(capsys, run: Path, video: Path, *options: str) -> Tensor:
    """The probabilities of NAMES."""
    capsys.readouterr()
    assert cli.main(["predict", str(run), str(video), "--json", "--top", "3", *options]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    values = {each["name"]: each["probability"] for each in found["top"]}
    return torch.tensor([values[name] for name in NAMES])


FIRST = [i * 19 // 4 for i in range(4)]  # 0 4 9 14
CENTRE = [2, 7, 11, 16]  # the middle of segments of 4.75 frames


@torch.no_grad()
def test_text4vis(tmp_path: Path, video: Path, classes: Path, capsys) -> None:
    base, first = original(TINY, tmp_path / "base")
    w = text4vis(tmp_path / "k400-vitb-16-f4.pt", TINY)
    out = tmp_path / "run"
    assert (
        imported(tmp_path / "k400-vitb-16-f4.pt", "--classes", classes, "--encoder", base, "--out", out, "--resize", 48)
        == 0
    )
    said = capsys.readouterr().err
    assert "text4vis" in said
    assert "4 frames a clip, by the file's name" in said
    assert "logit scale 100 (fixed)" in said
    rows = unit(encode_text(first, [f"a video of a person {name}." for name in NAMES]))
    head = {key.removeprefix("fusion_model."): value for key, value in w.items() if key.startswith("fusion_model.")}

    def expected(clips: list[list[int]], boxes: list[tuple[int, int]]) -> Tensor:
        views = [looked_at(video, indices, boxes, 32, CLIP_PIXELS) for indices in clips]
        frames = encode_image(w, torch.cat(views).flatten(0, 1)).unflatten(0, (-1, 4))
        # Un-normalised embeddings of all views are averaged. Heads: the text tower's width over 64 would be 2, but the
        # file has no text tower; features of 64 numbers have one.
        return (100 * unit(transf(head, frames, 1).mean(0)) @ rows.T).softmax(-1)

    assert torch.allclose(predicted(capsys, out, video), expected([FIRST], [(8, 8)]), atol=1e-4)
    four = [[start + shift for start in FIRST] for shift in (0, 1, 2, 3)]
    # 16 pixels of room: quarters of 4.
    boxes = [(0, 8), (16, 8), (8, 8)]
    assert torch.allclose(predicted(capsys, out, video, "--views", "4x3"), expected(four, boxes), atol=1e-4)
    assert (load_run(out).recipe.template, load_run(out).spec.source) == ("a video of a person {}.", base)


@torch.no_grad()
def test_text4vis_with_token_convolutions(tmp_path: Path, video: Path, classes: Path, capsys) -> None:
    base, first = original(TINY, tmp_path / "base")
    image = image_tower(TINY, 3)
    kernels = [noise(64, 1, 3, seed=40 + i) for i in range(2)]
    model = {**image, "logit_scale": torch.tensor(4.0)}
    model |= {f"visual.transformer.resblocks.{i}.control_point.conv.weight": kernels[i] for i in range(2)}
    torch.save({"epoch": 1, "model_state_dict": model, "optimizer_state_dict": OPTIMIZER}, tmp_path / "x.pt")
    out = tmp_path / "run"
    assert (
        imported(
            tmp_path / "x.pt", "--classes", classes, "--encoder", base, "--out", out, "--frames", 4, "--resize", 48
        )
        == 0
    )

    def on(x: Tensor, i: int) -> Tensor:
        token = F.conv1d(x[:, 0].T[None], kernels[i], padding=1, groups=64)[0].T
        return torch.cat([token[:, None], x[:, 1:]], 1)

    rows = unit(encode_text(first, [f"a video of a person {name}." for name in NAMES]))
    frames = encode_image(model, looked_at(video, FIRST, [(8, 8)], 32, CLIP_PIXELS)[0], on)
    expected = (100 * unit(frames.mean(0)) @ rows.T).softmax(-1)
    assert torch.allclose(predicted(capsys, out, video), expected, atol=1e-4)


@torch.no_grad()
def test_text4vis_trained_by_matching(tmp_path: Path, video: Path, classes: Path, capsys) -> None:
    w, head = clip(TINY, 0), fusion(TINY, 9)
    saved = {"epoch": 1, "model_state_dict": w, "fusion_model_state_dict": head, "optimizer_state_dict": OPTIMIZER}
    torch.save(saved, tmp_path / "x.pt")
    out = tmp_path / "run"
    assert imported(tmp_path / "x.pt", "--classes", classes, "--out", out, "--frames", 4, "--resize", 48) == 0
    rows = unit(encode_text(w, [f"a video of a person {name}." for name in NAMES]))
    frames = encode_image(w, looked_at(video, FIRST, [(8, 8)], 32, CLIP_PIXELS)[0])[None]
    expected = (100 * unit(transf(head, frames, 2)) @ rows.T).softmax(-1)[0]
    assert torch.allclose(predicted(capsys, out, video), expected, atol=1e-4)


@torch.no_grad()
def test_actionclip(tmp_path: Path, video: Path, classes: Path, capsys) -> None:
    w, head = actionclip(tmp_path / "vit-32-4f.pt", TINY)
    out = tmp_path / "run"
    assert imported(tmp_path / "vit-32-4f.pt", "--classes", classes, "--out", out, "--resize", 48) == 0
    head = {key.removeprefix("module."): value for key, value in head.items()}
    frames = encode_image(w, looked_at(video, CENTRE, [(8, 8)], 32, CLIP_PIXELS)[0])[None]
    feature = unit(transf(head, frames, 2))
    assert len(ACTIONCLIP_TEMPLATES) == 16
    each = [unit(encode_text(w, [one.format(name) for name in NAMES])) for one in ACTIONCLIP_TEMPLATES]
    expected = torch.stack([(100 * feature @ rows.T).softmax(-1)[0] for rows in each]).mean(0)
    assert torch.allclose(predicted(capsys, out, video), expected, atol=1e-4)
    # Other names go through the file's own text tower, with the same templates.
    again = predicted(capsys, out, video, "--classes", ",".join(NAMES), "--names", "verbatim")
    assert torch.allclose(again, expected, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("template", ["a photo of a {}.", "{}"])
def test_vifi_clip(tmp_path: Path, video: Path, classes: Path, capsys, template: str) -> None:
    base, first = original(TINY, tmp_path / "base")
    w = vifi(tmp_path / "ckpt_epoch_10.pth", TINY)
    out = tmp_path / "run"
    given = [] if template.startswith("a") else ["--template", template]
    options = ["--encoder", base, "--frames", 4, "--out", out, "--resize", 48, *given]
    assert imported(tmp_path / "ckpt_epoch_10.pth", "--classes", classes, *options) == 0
    image = {"visual." + k.removeprefix("module.image_encoder."): v for k, v in w.items() if "image_encoder" in k}
    text = {k.removeprefix("module.text_encoder."): v for k, v in w.items() if "text_encoder" in k}
    text["token_embedding.weight"] = first["token_embedding.weight"]
    rows = unit(encode_text(text, [template.format(name) for name in NAMES]))

    def expected(boxes: list[tuple[int, int]], short: int) -> Tensor:
        seen = looked_at(video, CENTRE, boxes, 32, IMAGENET_PIXELS, short)
        features = encode_image(image, seen.flatten(0, 1)).unflatten(0, (-1, 4)).mean(1)
        return (np.exp(3.5) * unit(features) @ rows.T).softmax(-1).mean(0)

    assert torch.allclose(predicted(capsys, out, video), expected([(8, 8)], 48), atol=1e-4)
    three = predicted(capsys, out, video, "--views", "1x3")
    # Three crops lie in a picture whose short side is the crop: of a square all are the whole of it.
    assert torch.allclose(three, expected([(0, 0)] * 3, 32), atol=1e-4)


@torch.no_grad()
def test_openai(tmp_path: Path, video: Path, classes: Path, capsys) -> None:
    w = clip(TINY, 0)
    torch.save({**half(w), "input_resolution": torch.tensor(32)}, tmp_path / "ViT-B-16.pt")
    w = half(w)
    out = tmp_path / "run"
    assert imported(tmp_path / "ViT-B-16.pt", "--classes", classes, "--out", out, "--frames", 4, "--resize", 48) == 0
    rows = unit(encode_text(w, [f"a photo of a {name}." for name in NAMES]))
    frames = encode_image(w, looked_at(video, CENTRE, [(8, 8)], 32, CLIP_PIXELS)[0])
    expected = (np.exp(3.9) * unit(frames.mean(0)) @ rows.T).softmax(-1)
    assert torch.allclose(predicted(capsys, out, video), expected, atol=1e-4)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
def test_openai_s_archive(tmp_path: Path, video: Path, classes: Path, capsys) -> None:
    """TorchScript, whose program is not run."""
    w = clip(TINY, 0)
    config = model_config(w, "x")
    tower = open_clip.CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"], quick_gelu=True).eval()
    tower.load_state_dict(w, strict=False)
    given = (noise(1, 3, 32, 32), torch.ones(1, 77, dtype=torch.long))
    torch.jit.trace(tower, given, check_trace=False).save(str(tmp_path / "ViT-B-16.pt"))
    out = tmp_path / "run"
    assert imported(tmp_path / "ViT-B-16.pt", "--classes", classes, "--out", out, "--frames", 4, "--resize", 48) == 0
    rows = unit(encode_text(w, [f"a photo of a {name}." for name in NAMES]))
    frames = encode_image(w, looked_at(video, CENTRE, [(8, 8)], 32, CLIP_PIXELS)[0])
    expected = (np.exp(3.9) * unit(frames.mean(0)) @ rows.T).softmax(-1)
    assert torch.allclose(predicted(capsys, out, video), expected, atol=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_text4vis_with_a_resnet(tmp_path: Path, classes: Path) -> None:
    """The architecture is found from the shapes alone; the image tower against open_clip's own."""
    vision = {"image_size": 64, "layers": [1, 2, 1, 1], "width": 16, "patch_size": None}
    torch.manual_seed(0)
    tower = open_clip.CLIP(32, vision, {"width": 64, "heads": 1, "layers": 1}, quick_gelu=True).visual.eval()
    model = {**prefixed("visual.", dict(tower.state_dict())), "logit_scale": torch.tensor(4.0)}
    model |= prefixed("fusion_model.", fusion(Sizes(dim=32), 9))
    torch.save({"epoch": 1, "model_state_dict": model, "optimizer_state_dict": OPTIMIZER}, tmp_path / "rn-f4.pt")
    base, _ = original(Sizes(dim=32), tmp_path / "base")
    out = tmp_path / "run"
    assert imported(tmp_path / "rn-f4.pt", "--classes", classes, "--encoder", base, "--out", out) == 0
    run = load_run(out)
    pixels = noise(4, 3, 64, 64)
    assert torch.allclose(run.model.visual(pixels), tower(pixels), atol=1e-5)
    assert (run.pixels.size, run.pixels.resize) == (64, 64)


@pytest.mark.parametrize(
    ("name", "heads"), [("RN50", 8), ("ViT-B-32", 8), ("ViT-B-16", 8), ("ViT-L-14", 12), ("ViT-L-14-336", 12)]
)
def test_the_paper_s_five_are_known_by_their_shapes(name: str, heads: int) -> None:
    with torch.device("meta"):
        whole = open_clip.create_model(f"{name}-quickgelu", device="meta")
    weights = {key: value for key, value in whole.state_dict().items() if key.startswith("visual.")}
    config = model_config(weights, "x")
    known = open_clip.get_model_config(f"{name}-quickgelu")
    assert known is not None
    assert config["embed_dim"] == known["embed_dim"]
    assert {key: config["vision_cfg"][key] for key in known["vision_cfg"]} == known["vision_cfg"]
    assert temporal_heads(config) == heads
    # The text tower's width over 64, where the file has one.
    assert temporal_heads(model_config(dict(whole.state_dict()), "x")) == heads
    assert published.original(config) == f"openclip:{name}-quickgelu/openai"


@pytest.mark.slow
def test_an_imported_run_lives_on_its_own(tmp_path: Path, video: Path, classes: Path, capsys) -> None:
    actionclip(tmp_path / "x-4f.pt", TINY)
    assert imported(tmp_path / "x-4f.pt", "--classes", classes, "--out", tmp_path / "run") == 0
    before = predicted(capsys, tmp_path / "run", video)
    (tmp_path / "x-4f.pt").unlink()
    (tmp_path / "run").rename(tmp_path / "moved")
    assert torch.equal(predicted(capsys, tmp_path / "moved", video), before)
    assert torch.allclose(
        predicted(capsys, tmp_path / "moved", video, "--classes", ",".join(NAMES), "--names", "verbatim"),
        before,
        atol=1e-5,
    )
    data = tmp_path / "data"
    for i, name in enumerate(NAMES):
        write_video(data / name / "a.mp4", ["red", "green", "blue"][i])
    assert cli.main(["eval", str(tmp_path / "moved"), str(data), "--views", "2x3", "--workers", "0"]) == 0
    assert "2x3 views" in capsys.readouterr().out
    assert cli.main(["eval", str(tmp_path / "moved"), str(data), "--zero-shot", "--workers", "0"]) == 0
    # Its encoder is the tuned one: there is none before training to stand beside it.
    assert "before training" not in capsys.readouterr().out


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.fixture
def refused(capsys, tmp_path: Path, classes: Path) -> Callable[..., str]:
    def run(path: Path, *options: object) -> str:
        capsys.readouterr()
        code = imported(path, "--classes", classes, "--out", tmp_path / "run", "--frames", 4, *options)
        said = capsys.readouterr().err.splitlines()
        assert code == 2, said
        assert not (tmp_path / "run").exists(), "nothing is left behind"
        return said[-1]

    return run


def test_a_head_that_we_have_not_is_refused_with_its_keys(tmp_path: Path, refused) -> None:
    path, base = tmp_path / "x.pt", original(TINY, tmp_path / "base")[0]
    for more, named in (
        ({"visual.time_embedding": noise(4, 64)}, "visual.time_embedding"),
        (
            {"visual.transformer.resblocks.0.net.ln_1.weight": noise(64)},
            "visual.transformer.resblocks.0.net.ln_1.weight",
        ),
        ({"fusion_model.lstm.weight_ih_l0": noise(8, 8)}, "lstm.weight_ih_l0"),
    ):
        text4vis(path, TINY, **more)
        said = refused(path, "--encoder", base)
        assert named in said
        assert "belong to a head that texthead has not" in said
    text4vis(path, TINY, **{"temporal_head.lstm.weight": noise(3), "classifier.weight": noise(3, 3)})
    assert "classifier.weight, temporal_head.lstm.weight" in refused(path, "--encoder", base)
    for heads in ({"module.shift.weight": noise(64, 1, 3)}, {"module.transformer.cls_token": noise(1, 1, 64)}):
        saved = {"model_state_dict": clip(TINY, 0), "fusion_model_state_dict": heads}
        torch.save(saved, path)
        assert next(iter(heads)).removeprefix("module.") in refused(path)
    vifi(path, TINY, **{"module.prompt_learner.ctx": noise(4, 128)})
    assert "prompt_learner.ctx" in refused(path, "--encoder", base)


def test_weights_that_do_not_fit_are_refused_with_their_key(tmp_path: Path, refused) -> None:
    path, base = tmp_path / "x.pt", original(TINY, tmp_path / "base")[0]
    for key in ("fusion_model.transformer.resblocks.5.ln_2.bias", "visual.ln_post.weight"):
        model = text4vis(path, TINY)
        del model[key]
        torch.save({"epoch": 1, "model_state_dict": model, "optimizer_state_dict": OPTIMIZER}, path)
        assert key.removeprefix("fusion_model.").removeprefix("visual.") in refused(path, "--encoder", base)
    text4vis(path, TINY, **{"visual.extra": noise(3)})
    assert "'extra' has shape (3,) in the weights" in refused(path, "--encoder", base)
    other = original(Sizes(dim=48), tmp_path / "other")[0]
    text4vis(path, TINY)
    assert "has 48 numbers a feature" in refused(path, "--encoder", other)


def test_what_is_missing_or_does_nothing_is_said(tmp_path: Path, refused, capsys, classes: Path) -> None:
    path = tmp_path / "x.pt"
    text4vis(path, TINY)
    assert "name the encoder that it was tuned from in --encoder" in refused(path)
    assert "is a file of text4vis by its keys, not of openai" in refused(path, "--kind", "openai")
    torch.save({"model_state_dict": clip(TINY, 0), "fusion_model_state_dict": {}}, path)
    assert "pass --kind actionclip or --kind text4vis-nce" in refused(path)
    assert "leave it out" in refused(path, "--kind", "actionclip", "--encoder", "mini")
    torch.save({"weight": noise(3)}, path)
    assert "is none of openai, text4vis" in refused(path)
    assert "none.pt: no such file" in refused(tmp_path / "none.pt")
    assert "is a folder, expected a file" in refused(tmp_path)
    (tmp_path / "text.pt").write_text("nothing")
    assert "no weights can be read" in refused(tmp_path / "text.pt")
    actionclip(path, TINY)
    assert "--test-scale must be learned or a number above 0, got 'x'" in refused(path, "--test-scale", "x")
    assert "are for several templates" not in refused(path, "--template", "no place")
    assert "is for several templates" in refused(path, "--template", "a {}", "--template-pooling", "probabilities")
    code = imported(path, "--classes", classes, "--out", tmp_path / "run")
    assert code == 2
    assert "pass --frames, mostly 8, 16 or 32" in capsys.readouterr().err


# --- at the published size -------------------------------------------------------------------------------------------


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("kind", ["text4vis", "actionclip", "vifi-clip", "openai"])
def test_files_of_the_published_size(tmp_path: Path, classes: Path, capsys, kind: str) -> None:
    """ViT-B/32: 226 tensors in Text4Vis' file with its transformer, as published."""
    path, weights = tmp_path / "k400-vitb-32-f8.pt", clip(B32, 90_000)
    base = tmp_path / "ViT-B-32.pt"
    torch.save(weights, base)
    encoder = f"openclip:ViT-B-32-quickgelu/{base}"
    if kind == "text4vis":
        w = text4vis(path, B32)
        assert len(w) == 226
        head, text, scale = w, weights, 100.0
    elif kind == "actionclip":
        w, head = actionclip(path, B32)
        text, scale = w, 100.0
    elif kind == "vifi-clip":
        held = vifi(path, B32)
        w = {"visual." + k.removeprefix("module.image_encoder."): v for k, v in held.items() if "image_encoder" in k}
        text = {k.removeprefix("module.text_encoder."): v for k, v in held.items() if "text_encoder" in k}
        text["token_embedding.weight"] = weights["token_embedding.weight"]
        head, scale = {}, float(np.exp(3.5))
    else:
        torch.save(half(weights), path)
        w = text = half(weights)
        head, scale = {}, float(np.exp(3.9))
    video = write_video(tmp_path / "clip.mp4", "red", frames=19)
    needs = ["--encoder", encoder] if kind in ("text4vis", "vifi-clip") else []
    assert imported(path, "--classes", classes, "--out", tmp_path / "run", *needs) == 0
    run = load_run(tmp_path / "run")
    assert (run.pixels.size, run.pixels.resize) == (224, 224 if kind == "openai" else 256)
    clips = torch.randint(0, 256, (1, 8, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    statistics = IMAGENET_PIXELS if kind == "vifi-clip" else CLIP_PIXELS
    mean, std = (torch.tensor(values)[:, None, None] for values in statistics)
    frames = encode_image(w, (clips[0].float() / 255 - mean) / std)[None]
    head = {
        k.split("fusion_model.")[-1].removeprefix("module."): v for k, v in head.items() if not k.startswith("visual")
    }
    feature = transf(head, frames, 8) if len(head) > 1 else frames.mean(1)
    template = {"text4vis": "a video of a person {}.", "vifi-clip": "a photo of a {}.", "openai": "a photo of a {}."}
    templates = [template[kind]] if kind in template else list(ACTIONCLIP_TEMPLATES)
    each = [unit(encode_text(text, [one.format(name) for name in NAMES])) for one in templates]
    expected = torch.stack([(scale * unit(feature) @ rows.T).softmax(-1) for rows in each]).mean(0)
    assert torch.allclose(run.model(clips).softmax(-1), expected, atol=2e-4)
    assert predicted(capsys, tmp_path / "run", video).sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"logit_scale": None}, "holds no logit_scale of one number"),
        ({"logit_scale": torch.ones(2)}, "holds no logit_scale of one number"),
        ({"logit_scale": torch.tensor(float("nan"))}, "'logit_scale' is not finite"),
        ({"visual.class_embedding": torch.full((64,), torch.inf)}, "'visual.class_embedding' is not finite"),
        ({"visual.proj": torch.ones(3)}, "no image tower of CLIP (IndexError"),
        ({"visual.conv1.weight": torch.ones(3)}, "no image tower of CLIP (ValueError"),
        ({"visual.positional_embedding": None}, "no image tower of CLIP (KeyError"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, refused, changes: dict, told: str) -> None:
    path, base = tmp_path / "x.pt", original(TINY, tmp_path / "base")[0]
    model = {key: value for key, value in (text4vis(path, TINY) | changes).items() if value is not None}
    torch.save({"epoch": 1, "model_state_dict": model, "optimizer_state_dict": OPTIMIZER}, path)
    assert told in refused(path, "--encoder", base)


def test_other_contents_are_one_line(tmp_path: Path, refused) -> None:
    path = tmp_path / "x.pt"
    for content in (
        {1: torch.ones(3)},
        {"model_state_dict": clip(TINY, 0), "fusion_model_state_dict": [1]},
        {"model_state_dict": clip(TINY, 0), "fusion_model_state_dict": torch.ones(3)},
    ):
        torch.save(content, path)
        assert "check the file" in refused(path) or "expected tensors by name" in refused(path)
    actionclip(path, TINY)
    assert "above 0, got 'inf'" in refused(path, "--test-scale", "inf")
    assert "--resize 31: the crop has 32 pixels, the short side must not be less" in refused(path, "--resize", 31)
