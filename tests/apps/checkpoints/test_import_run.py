"""Imported checkpoints give a video the probabilities that their programs give it, written with open_clip's networks."""

import json
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from unittest import mock

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU, Transformer
from torch import Tensor

from made import noise, write_video
from messages import prints
from texthead.apps.checkpoints import published
from texthead.apps.checkpoints.published import ACTIONCLIP_TEMPLATES, model_config, temporal_heads
from texthead.encoders import ClipModel, build_visual
from texthead.media.paths import MediaPath
from texthead.prediction.load import load_run

Tensors = dict[str, Tensor]

NAMES = ["ApplyEyeMakeup", "playing guitar", "Archery"]


# --- files with the keys and shapes of the published ones -----------------------------------------------------------


@dataclass(frozen=True)
class Sizes:
    """Sizes of a CLIP model with a ViT."""

    width: int = 64
    layers: int = 2
    patch: int = 16
    image: int = 32
    dim: int = 64


TINY = Sizes()


def model_of(s: Sizes, *, quick_gelu: bool = True) -> open_clip.CLIP:
    vision = {"image_size": s.image, "patch_size": s.patch, "width": s.width, "layers": s.layers}
    return open_clip.CLIP(s.dim, vision, {"width": 128, "heads": 2, "layers": 2}, quick_gelu=quick_gelu).eval()


def temporal_model(dim: int, heads: int = 1) -> Transformer:
    """Return the temporal transformer of Text4Vis and ActionCLIP."""
    return Transformer(dim, 6, heads, act_layer=QuickGELU, norm_layer=partial(torch.nn.LayerNorm, eps=1e-12))


def weights_of(make: Callable[[], torch.nn.Module], seed: int) -> Tensors:
    """Return random weights of a network, biases and norms included."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return {key: value + 0.1 * noise(*value.shape, seed=seed) for key, value in make().state_dict().items()}


@cache
def clip(s: Sizes, seed: int) -> Tensors:
    """Return the weights of both towers; nobody changes them."""
    return weights_of(lambda: model_of(s), seed) | {"logit_scale": torch.tensor(3.9)}


def image_tower(s: Sizes, seed: int) -> Tensors:
    return {key: value for key, value in clip(s, seed).items() if key.startswith("visual.")}


def fusion(s: Sizes, seed: int) -> Tensors:
    positions = {"frame_position_embeddings.weight": 0.3 * noise(77, s.dim, seed=seed)}
    return positions | prefixed("transformer.", weights_of(lambda: temporal_model(s.dim), seed))


def original(s: Sizes, folder: Path) -> tuple[str, Tensors]:
    """Write the model that a file was fine-tuned from, and return (source, weights)."""
    weights = clip(s, seed=90_000)
    ClipModel("x", model_config(weights, "x"), read=lambda: weights).save(folder)
    return f"openclip:local-dir:{folder}", weights


OPTIMIZER = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 5e-5}]}


def prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + key: value for key, value in tensors.items()}


def below(tensors: Tensors, prefix: str) -> Tensors:
    return {key.removeprefix(prefix): value.float() for key, value in tensors.items() if key.startswith(prefix)}


def save_model(path: Path, model: Tensors, **more: object) -> Tensors:
    torch.save({"epoch": 29, "model_state_dict": model, **more, "optimizer_state_dict": OPTIMIZER}, path)
    return model


def text4vis(path: Path, s: Sizes, seed: int = 0, **more: Tensor | None) -> Tensors:
    """Write a file as Text4Vis publishes it; keys of `more` that are None are left out."""
    model = {**image_tower(s, seed), "logit_scale": torch.tensor(4.2), **prefixed("fusion_model.", fusion(s, seed + 9))}
    return save_model(path, {key: value for key, value in {**model, **more}.items() if value is not None})


def half(tensors: Tensors) -> Tensors:
    """Store linear and convolution weights in half precision, as ActionCLIP does."""
    halved = ("attn.", "mlp.", "conv1.weight", "visual.proj", "text_projection")
    return {k: v.half() if any(part in k for part in halved) else v for k, v in tensors.items()}


def actionclip(path: Path, s: Sizes, seed: int = 0) -> tuple[Tensors, Tensors]:
    head = prefixed("module.", fusion(s, seed + 9))
    return save_model(path, half(clip(s, seed)), fusion_model_state_dict=head), head


def save_with_settings(path: Path, content: dict) -> None:
    """Save the content with a CfgNode as yacs pickles it, whether or not yacs is installed."""
    package, module = types.ModuleType("yacs"), types.ModuleType("yacs.config")
    node = type("CfgNode", (dict,), {"__module__": "yacs.config"})
    module.CfgNode = node  # pyright: ignore[reportAttributeAccessIssue]
    package.config = module  # pyright: ignore[reportAttributeAccessIssue]
    config = node(MODEL=node(ARCH="ViT-B/32"))
    config.__dict__["__immutable__"] = True
    with mock.patch.dict(sys.modules, {"yacs": package, "yacs.config": module}):
        torch.save({**content, "config": config}, path)


def vifi(path: Path, s: Sizes, seed: int = 0, **more: Tensor) -> Tensors:
    whole = clip(s, seed)
    text = {k: v for k, v in whole.items() if not k.startswith(("visual.", "token_embedding", "logit_scale"))}
    model = prefixed("module.image_encoder.", below(whole, "visual."))
    model |= prefixed("module.text_encoder.", text) | {"module.logit_scale": torch.tensor(3.5)}
    model |= {"module.prompt_learner.complete_text_embeddings": noise(4, 77, 128), **more}
    content = {"model": model, "optimizer": OPTIMIZER, "lr_scheduler": {}, "max_accuracy": 71.0, "epoch": 9}
    save_with_settings(path, content)
    return model


# --- their programs, with open_clip's networks ------------------------------------------------------------------------


def loaded(w: Tensors, *, quick_gelu: bool = True) -> open_clip.CLIP:
    """Return a tiny model with the weights of one or both towers."""
    model = model_of(TINY, quick_gelu=quick_gelu)
    model.load_state_dict(w, strict=False)
    return model


def encode_image(w: Tensors, pixels: Tensor) -> Tensor:
    """Return the features of frames."""
    return loaded(w).visual(pixels)


@cache
def tokenizer() -> Callable[[list[str]], Tensor]:
    return open_clip.get_tokenizer("ViT-B-32")


def encode_words(w: Tensors, prompts: list[str]) -> Tensor:
    """Return a row for each of the 77 token positions of each prompt."""
    model, words = loaded(w), []
    model.ln_final.register_forward_hook(lambda net, inputs, output: words.append(output))
    model.encode_text(tokenizer()(prompts))
    return words[0] @ model.text_projection


def encode_text(w: Tensors, prompts: list[str]) -> Tensor:
    return loaded(w).encode_text(tokenizer()(prompts))


def transf(w: Tensors, frames: Tensor, heads: int) -> Tensor:
    """Apply the temporal transformer of Text4Vis and ActionCLIP."""
    return transf_frames(w, frames, heads).mean(1)


def transf_frames(w: Tensors, frames: Tensor, heads: int) -> Tensor:
    net = temporal_model(frames.shape[-1], heads)
    net.load_state_dict(below(w, "transformer."))
    return net(frames + w["frame_position_embeddings.weight"][: frames.shape[1]]) + frames


def spotting(w: Tensors, frames: Tensor, prompts: list[str]) -> Tensor:
    """Return BIKE's cosines: each class weights the frames by their similarity to the words of its prompt."""
    frames, words, rows = unit(frames), unit(encode_words(w, prompts)), unit(encode_text(w, prompts))
    weight = (torch.einsum("awd,btd->bawt", words, frames) / 0.01).softmax(-1).mean(2)
    return torch.einsum("bad,ad->ba", torch.einsum("bat,btd->bad", weight, frames), rows)


CLIP_PIXELS = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_PIXELS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def looked_at(
    video: Path,
    indices: list[int],
    boxes: list[tuple[int, int]],
    size: int,
    statistics: tuple,
    short: int = 48,
    *,
    antialias: bool = True,
) -> Tensor:
    """Return normalised crops (crops, frames, 3, size, size) of the square video resized to `short` pixels."""
    with MediaPath(video).open() as media:
        frames = media.frames_at(indices)
    if short != frames.shape[-1]:
        resized = F.interpolate(frames.float(), (short, short), mode="bilinear", antialias=antialias)
        frames = resized.round().clamp(0, 255)
    frames = frames.float() / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in statistics)
    return torch.stack([(frames[:, :, y : y + size, x : x + size] - mean) / std for x, y in boxes])


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def text_rows(w: Tensors, template: str) -> Tensor:
    return unit(encode_text(w, [template.format(name) for name in NAMES]))


# --- a run imported from a file --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Tensors]:
    """Return (source, weights) of the model that the tiny files were fine-tuned from."""
    return original(TINY, tmp_path_factory.mktemp("base"))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """19 frames of 48x48."""
    return write_video(tmp_path / "clip.mp4", "red", frames=19)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    path = tmp_path / "names.csv"
    path.write_bytes(b"id,name\r\n" + b"".join(f"{i},{name}\r\n".encode() for i, name in enumerate(NAMES)))
    return path


@pytest.fixture
def import_file(works, classes: Path, tmp_path: Path) -> Callable[..., str]:
    """Return a function that imports a file into the folder `run` and returns standard error."""
    return lambda path, *options: works("import", path, "--classes", classes, "--out", tmp_path / "run", *options)[1]


@pytest.fixture
def predict(works, video: Path, tmp_path: Path) -> Callable[..., Tensor]:
    """Return a function that predicts the video with the run and returns the probabilities of NAMES."""

    def run(*options: object, folder: str = "run") -> Tensor:
        (entry,) = json.loads(works("predict", tmp_path / folder, video, "--json", "--top", 3, *options)[0])
        probabilities = {each["name"]: each["probability"] for each in entry["top"]}
        return torch.tensor([probabilities[name] for name in NAMES])

    return run


def with_own_names(folder: Path, video: Path) -> Tensor:
    """Return the probabilities of NAMES, encoded again as they are."""
    top = dict(load_run(folder).with_classes(NAMES).predict([video], top=3)[0].top)
    return torch.tensor([top[name] for name in NAMES])


FOUR = ("--frames", 4, "--set", "resize=48")
FIRST = [i * 19 // 4 for i in range(4)]  # 0 4 9 14
CENTER = [2, 7, 11, 16]  # the centers of segments of 4.75 frames
MIDDLE = [1, 6, 11, 16]  # the middle frame of each segment
PERSON, PHOTO = "a video of a person {}.", "a photo of a {}."


@torch.no_grad()
def test_text4vis(tmp_path: Path, video: Path, base, import_file, predict) -> None:
    w = text4vis(tmp_path / "k400-vitb-16-f4.pt", TINY)
    err = import_file(tmp_path / "k400-vitb-16-f4.pt", "--encoder", base[0], "--set", "resize=48")
    for part in (": text4vis", "4 frames", "logit scale 100"):
        prints(err, part)
    rows = text_rows(base[1], PERSON)
    head = below(w, "fusion_model.")

    def expected(clips: list[list[int]], boxes: list[tuple[int, int]]) -> Tensor:
        views = [looked_at(video, indices, boxes, 32, CLIP_PIXELS) for indices in clips]
        frames = encode_image(w, torch.cat(views).flatten(0, 1)).unflatten(0, (-1, 4))
        # Unnormalised embeddings of all views are averaged. The file has no text tower, whose width over 64 would give
        # 2 heads; features of length 64 give one.
        return (100 * unit(transf(head, frames, 1).mean(0)) @ rows.T).softmax(-1)

    assert torch.allclose(predict(), expected([FIRST], [(8, 8)]), atol=1e-4)
    four = [[start + shift for start in FIRST] for shift in (0, 1, 2, 3)]
    # The margin is 16 pixels, in quarters of 4.
    boxes = [(0, 8), (16, 8), (8, 8)]
    assert torch.allclose(predict("--views", "4x3"), expected(four, boxes), atol=1e-4)
    run = load_run(tmp_path / "run")
    assert (run.recipe.template, run.spec.source) == (PERSON, base[0])


@torch.no_grad()
@pytest.mark.parametrize("transformer", [False, True])
def test_text4vis_with_and_without_a_transformer(tmp_path, base, import_file, refused_file, transformer) -> None:
    """TokenShift has no weights, so that no file shows it; TokenT1D has."""
    path, encoder = tmp_path / "x.pt", ("--encoder", base[0])
    head = fusion(TINY, 9) if transformer else {}
    w = {**image_tower(TINY, 3), "logit_scale": torch.tensor(4.0), **prefixed("fusion_model.", head)}
    token_t1d = "visual.transformer.resblocks.0.control_point.conv.weight"
    save_model(path, {**w, token_t1d: noise(64, 1, 3)})
    refused_file((token_t1d,), path, *encoder)
    save_model(path, w)
    prints(import_file(path, *encoder, *FOUR), "TokenShift")
    clips = noise(2, 4, 3, 32, 32)
    frames = encode_image(w, clips.flatten(0, 1)).unflatten(0, (2, 4))
    cosines = unit(transf(head, frames, 1) if transformer else frames.mean(1)) @ text_rows(base[1], PERSON).T
    assert torch.allclose(load_run(tmp_path / "run").model(clips) / 100, cosines, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    ("interaction", "transformer"), [(None, True), ("dp", False), ("dp", True), ("vcs", False), ("vcs", True)]
)
def test_text4vis_by_matching_and_four_configurations_of_bike(
    tmp_path: Path, video: Path, import_file, refused_file, predict, interaction: str | None, transformer: bool
) -> None:
    """The keys are the same, and do not show how BIKE compares frames with text; some files keep DDP's prefix."""
    path, head = tmp_path / "x.pt", fusion(TINY, 9) if transformer else {}
    prefix = "module." if interaction == "vcs" else ""
    w = save_model(path, clip(TINY, 0), fusion_model_state_dict=prefixed(prefix, head))
    kind, own, template = ("--kind", "bike"), ("--interaction", interaction), "This is a video about {}"
    if interaction:
        refused_file(("interaction", "dp", "vcs"), path, *kind)
    else:
        kind, own, template = ("--kind", "text4vis-nce"), (), PERSON
    import_file(path, *kind, *own, *FOUR)
    clips, prompts = noise(2, 4, 3, 32, 32), [template.format(name) for name in NAMES]
    frames = encode_image(w, clips.flatten(0, 1)).unflatten(0, (2, 4))
    frames = transf_frames(head, frames, 2) if transformer else frames
    cosines = {"vcs": spotting(w, frames, prompts), "dp": unit(frames.mean(1)) @ unit(encode_text(w, prompts)).T}
    run = load_run(tmp_path / "run")
    assert run.recipe.pooling == ("logits" if interaction else "features")
    scores = run.model(clips) / 100
    assert torch.allclose(scores, cosines.pop(interaction or "dp"), atol=1e-5)
    assert not torch.allclose(scores, cosines.popitem()[1], atol=1e-3)
    assert torch.allclose(with_own_names(tmp_path / "run", video), predict(), atol=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_actionclip(tmp_path: Path, video: Path, import_file, predict) -> None:
    w, head = actionclip(tmp_path / "vit-32-4f.pt", TINY)
    import_file(tmp_path / "vit-32-4f.pt", "--set", "resize=48")
    head = below(head, "module.")
    frames = encode_image(w, looked_at(video, MIDDLE, [(8, 8)], 32, CLIP_PIXELS)[0])[None]
    feature = unit(transf(head, frames, 2))
    assert len(ACTIONCLIP_TEMPLATES) == 16
    each = [(100 * feature @ text_rows(w, one).T).softmax(-1)[0] for one in ACTIONCLIP_TEMPLATES]
    expected = torch.stack(each).mean(0)
    assert torch.allclose(predict(), expected, atol=1e-4)
    # Other names use the file's own text tower, which the run holds, with the same templates.
    (tmp_path / "vit-32-4f.pt").unlink()
    assert torch.allclose(with_own_names(tmp_path / "run", video), expected, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("template", [PHOTO, "{}"])
def test_vifi_clip(tmp_path: Path, video: Path, base, import_file, predict, template: str) -> None:
    saved = vifi(tmp_path / "ckpt_epoch_10.pth", TINY)
    own = [] if template == PHOTO else ["--set", f"template={template}"]
    import_file(tmp_path / "ckpt_epoch_10.pth", "--encoder", base[0], *FOUR, *own)
    image = prefixed("visual.", below(saved, "module.image_encoder."))
    # The file has no token embeddings.
    text = {**below(saved, "module.text_encoder."), "token_embedding.weight": base[1]["token_embedding.weight"]}
    rows = text_rows(text, template)

    def expected(boxes: list[tuple[int, int]], short: int) -> Tensor:
        seen = looked_at(video, CENTER, boxes, 32, IMAGENET_PIXELS, short, antialias=False)
        features = encode_image(image, seen.flatten(0, 1)).unflatten(0, (-1, 4)).mean(1)
        return (np.exp(3.5) * unit(features) @ rows.T).softmax(-1).mean(0)

    assert torch.allclose(predict(), expected([(8, 8)], 48), atol=1e-4)
    # With three crops the picture's short side is the crop size, so each crop of a square video is the whole frame.
    assert torch.allclose(predict("--views", "1x3"), expected([(0, 0)] * 3, 32), atol=1e-4)


@torch.no_grad()
def test_openai(tmp_path: Path, video: Path, import_file, predict) -> None:
    w, path = half(clip(TINY, 0)), tmp_path / "ViT-B-16.pt"
    torch.save({**w, "input_resolution": torch.tensor(32)}, path)
    import_file(path, *FOUR)
    frames = encode_image(w, looked_at(video, CENTER, [(8, 8)], 32, CLIP_PIXELS)[0])
    expected = (np.exp(3.9) * unit(frames.mean(0)) @ text_rows(w, PHOTO).T).softmax(-1)
    assert torch.allclose(predict(), expected, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("activation", ["gelu", "quick-gelu"])
def test_a_checkpoint_of_open_clip_s_training(tmp_path: Path, import_file, refused_file, activation: str) -> None:
    """It does not show its activation; its towers are compared with open_clip's own."""
    w, path = clip(TINY, 0), tmp_path / "epoch_1.pt"
    torch.save({"epoch": 1, "name": "x", "state_dict": prefixed("module.", w), "optimizer": OPTIMIZER}, path)
    refused_file(("activation", "gelu", "quick-gelu"), path)
    import_file(path, "--activation", activation, *FOUR)
    towers = loaded(w, quick_gelu=activation == "quick-gelu")
    run, images = load_run(tmp_path / "run"), noise(4, 3, 32, 32)
    assert torch.allclose(run.model.visual(images), towers.encode_image(images), atol=1e-5)
    rows = unit(towers.encode_text(tokenizer()([PHOTO.format(name) for name in NAMES])))
    assert torch.allclose(unit(run.head.weight), rows, atol=1e-5)


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-L-14", "ViT-H-14", "ViT-g-14", "ViT-bigG-14", "ViT-e-14"])
def test_the_architecture_of_an_open_clip_vit_is_read_from_its_weights(name: str) -> None:
    """Wide ones have other ratios of the hidden layer's width, and 16 heads."""
    config: dict = open_clip.get_model_config(name) or {}
    with torch.device("meta"):
        theirs = build_visual(ClipModel(name, config).spec).net
        tensors = {f"visual.{key}": value for key, value in theirs.state_dict().items()}
        ours = build_visual(ClipModel(name, model_config(tensors, name, quick_gelu=False)).spec).net
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    heads = [tower.transformer.resblocks[0].attn.num_heads for tower in (ours, theirs)]
    assert heads[0] == heads[1]


@torch.no_grad()
def test_text4vis_with_a_resnet(tmp_path: Path, import_file, refused_file) -> None:
    """The architecture is inferred from the shapes alone; the image tower is compared with open_clip's own."""
    vision = {"image_size": 64, "layers": [1, 2, 1, 1], "width": 16, "patch_size": None}
    torch.manual_seed(0)
    whole = open_clip.CLIP(32, vision, {"width": 64, "heads": 1, "layers": 1}, quick_gelu=True).eval()
    weights, tower = dict(whole.state_dict()), whole.visual
    ClipModel("x", model_config(weights, "x"), read=lambda: weights).save(tmp_path / "base")
    model = {**prefixed("visual.", dict(tower.state_dict())), "logit_scale": torch.tensor(4.0)}
    save_model(tmp_path / "rn-f4.pt", model | prefixed("fusion_model.", fusion(Sizes(dim=32), 9)))
    base = ("--encoder", f"openclip:local-dir:{tmp_path / 'base'}")
    assert "TokenShift" not in import_file(tmp_path / "rn-f4.pt", *base)
    run = load_run(tmp_path / "run")
    pixels = noise(4, 3, 64, 64)
    assert torch.allclose(run.model.visual(pixels), tower(pixels), atol=1e-5)
    assert (run.pixels.size, run.pixels.resize) == (64, 64)


@pytest.mark.parametrize(("name", "heads"), [("RN50", 8), ("ViT-B-16", 8), ("ViT-L-14-336", 12)])
def test_the_paper_s_five_are_known_by_their_shapes(name: str, heads: int) -> None:
    with torch.device("meta"):
        whole = open_clip.create_model(f"{name}-quickgelu", device="meta")
    weights = {key: value for key, value in whole.state_dict().items() if key.startswith("visual.")}
    config = model_config(weights, "x")
    known = open_clip.get_model_config(f"{name}-quickgelu")
    assert config["embed_dim"] == known["embed_dim"]
    assert {key: config["vision_cfg"][key] for key in known["vision_cfg"]} == known["vision_cfg"]
    assert temporal_heads(config) == heads
    # The text tower's width over 64, if the file has one.
    assert temporal_heads(model_config(dict(whole.state_dict()), "x")) == heads
    assert published.original(config) == f"openclip:{name}-quickgelu/openai"


# --- refused files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def refused_file(refused: Callable[..., str], tmp_path: Path, classes: Path) -> Callable[..., None]:
    """Return a function that imports a file and checks that it is refused in a line with the parts."""

    def run(parts: str | tuple[str, ...], path: Path, *options: object, frames: int | None = 4) -> None:
        clip = () if frames is None else ("--frames", frames)
        refused(parts, "import", path, "--classes", classes, "--out", tmp_path / "run", *clip, *options)
        assert not (tmp_path / "run").exists(), "nothing is left behind"

    return run


def test_files_that_are_refused(tmp_path: Path, base, refused_file) -> None:
    """Unknown heads, weights that do not fit, damage, and a text tower of another architecture, each with its key."""
    path, encoder = tmp_path / "x.pt", ("--encoder", base[0])
    for keys, parts in (
        ({"visual.transformer.resblocks.0.net.ln_1.weight": noise(8, 8)}, "resblocks.0.net.ln_1.weight"),
        ({"fusion_model.lstm.weight_ih_l0": noise(8, 8)}, "lstm.weight_ih_l0"),
        (
            {"temporal_head.lstm.weight": noise(3), "classifier.weight": noise(3, 3)},
            "classifier.weight, temporal_head.",
        ),
        ({"visual.time_embedding": noise(3)}, "unsupported modules (visual.time_embedding); use a model"),
        ({"fusion_model.transformer.resblocks.5.ln_2.bias": None}, "transformer.resblocks.5.ln_2.bias"),
        ({"visual.ln_post.weight": None}, "ln_post.weight"),
        ({"visual.extra": noise(3)}, ("'extra'", "(3,)")),
        ({"logit_scale": torch.ones(2)}, ("x.pt", "logit_scale")),
        ({"visual.class_embedding": torch.full((64,), torch.inf)}, "'visual.class_embedding'"),
        ({"visual.proj": torch.ones(3)}, ("x.pt", "IndexError")),
        ({"visual.positional_embedding": None}, ("x.pt", "KeyError")),
    ):
        text4vis(path, TINY, **keys)
        refused_file(parts, path, *encoder)
    path = tmp_path / "other.pt"  # The last error keeps x.pt mapped, and Windows replaces no file that is.
    save_model(path, half(clip(TINY, 0)), fusion_model_state_dict={"module.shift.weight": noise(64, 1, 3)})
    refused_file("shift.weight", path)
    vifi(path, TINY, **{"module.prompt_learner.ctx": noise(4, 128)})
    refused_file("prompt_learner.ctx", path, *encoder)
    for number, (write, other, values) in enumerate(
        (
            (text4vis, Sizes(dim=48), ("48", "64")),
            (text4vis, Sizes(patch=8), ("64x8", "64x16")),
            (vifi, Sizes(image=64), ("64 pixels", "32 pixels")),
            (text4vis, Sizes(layers=1), ("53,568", "102,720")),
        )
    ):
        write(path, TINY)
        refused_file(("encoder", *values), path, "--encoder", original(other, tmp_path / f"other{number}")[0])


def test_files_of_another_kind_and_options_are_errors(tmp_path: Path, refused_file) -> None:
    path = tmp_path / "x.pt"
    text4vis(path, TINY)
    refused_file("encoder", path)
    refused_file(("text4vis", "openai", "kind"), path, "--kind", "openai")
    save_model(path, clip(TINY, 0), fusion_model_state_dict={})
    refused_file(("kind", "actionclip", "text4vis-nce"), path)
    refused_file("encoder", path, "--kind", "actionclip", "--encoder", "mini")
    (tmp_path / "two.txt").write_text("a video of {}\na clip of {}\n")
    spotted = ("--interaction", "vcs")
    refused_file("template", path, "--kind", "bike", *spotted, "--set", f"template={tmp_path / 'two.txt'}")
    refused_file(("interaction", "text4vis-nce"), path, "--kind", "text4vis-nce", *spotted)
    torch.save({"weight": noise(3)}, path)
    refused_file(("x.pt", "weight"), path)
    for odd in ({1: torch.ones(3)}, {"model_state_dict": clip(TINY, 0), "fusion_model_state_dict": [1]}):
        torch.save(odd, path)
        refused_file("x.pt", path)
    tokens = open_clip.CLIP(64, {"image_size": 32, "patch_size": 16, "width": 64, "layers": 1}, {"vocab_size": 32_000})
    torch.save({"state_dict": tokens.state_dict()}, path)
    refused_file(("32,000", "49,408"), path, "--activation", "gelu")
    refused_file("none.pt", tmp_path / "none.pt")
    refused_file(str(tmp_path), tmp_path)
    actionclip(path, TINY)
    refused_file(("pool=mean", "pooling"), path, "--set", "pool=mean")
    refused_file("frames", path, frames=None)
