"""A small CLIP trained on drawn shapes, in open_clip's folder format, as an offline stand-in for CLIP.

`pretrain` trains both towers with Eq. 2 on captioned pictures of 96 colour-shape pairs;
`texthead.load_encoder("openclip:local-dir:FOLDER")` loads the result. Half of the pictures are long exposures of a
moving shape, so that the text tower learns words of motion, as CLIP does from captions of photos. Without them the
embeddings of "a red circle jumping" and "a red circle growing" had a cosine of 1.000.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from open_clip.model import resize_pos_embed
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn

from paper.matching import matching_loss
from paper.shapes import (
    FORMS,
    OPPOSITES,
    Pair,
    Picture,
    all_pairs,
    caption,
    draw_shape_pictures,
    draw_twins,
    seen_pairs,
    unseen_pairs,
)
from texthead import Reporter, VisualEncoder, load_encoder
from texthead.apps.demo import MOTIONS
from texthead.encoders import ClipModel
from texthead.files import cache_dir, read_json, write_json

Tower = Literal["vit", "resnet"]

DIM, SIZE = 128, 64
VISION: Mapping[Tower, dict[str, Any]] = {
    "vit": {"image_size": SIZE, "patch_size": 16, "width": 128, "layers": 4, "head_width": 32},
    "resnet": {"image_size": SIZE, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64},
}
# Captions use the first 16 positions; the rest, for example for a learnable template, keep their random embeddings.
TEXT: Mapping[str, Any] = {"context_length": 32, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 2}
TRAINED_LENGTH = 16
MARK = "pretrained.json"


@dataclass(frozen=True)
class Setting:
    """Training settings of a tower: AdamW, linear warm-up, cosine decay to 0.

    Attributes:
        varied: strength of random rotation, scaling and shift; 1 is up to 15 degrees, 12 % and 7 % of the frame.
        batch: pictures per step.
        twins: pairs of pictures drawn per colour-shape pair; fewer for a short training.
        twin_share: fraction of batches that hold both twins, with captions that state their difference.
        token_std: initial standard deviation of the token embeddings. With open_clip's 0.02, the text tower of the
            ResNet never separated "left" from "right" (cosine 1.000); with 0.2 it does within 200 steps. Not tested
            for the ViT.
        first_scale, largest_scale: initial value and upper bound of the logit scale.
        norm: gradient clipping norm.
    """

    steps: int
    rate: float
    varied: float
    batch: int = 96
    twins: int = 100
    twin_share: float = 0.4
    token_std: float = 0.2
    weight_decay: float = 0.1
    warmup: int = 100
    first_scale: float = 14.3
    largest_scale: float = 100.0
    norm: float = 1.0


SETTINGS: Mapping[Tower, Setting] = {
    "vit": Setting(steps=1600, rate=1.5e-3, varied=0.4),
    "resnet": Setting(steps=1000, rate=2e-3, varied=0.0),
}


# Version of the drawing and training code: raise it when an edit changes the weights. It invalidates stored results of
# rows with a small CLIP.
PROGRAM = 1

# Test pictures per pair, and their seed.
_SCORED, _SCORE_SEED = 20, 1_000_003


def pretrain(
    tower: Tower, out: Path, *, steps: int | None = None, seed: int = 0, reporter: Reporter = Reporter()
) -> Path:
    """Train a small CLIP from random weights, write it to `out` in open_clip's format, and return `out`.

    The loss is Eq. 2 in both directions, as in CLIP.

    Args:
        steps: optimizer steps; None is the tower's default.
        reporter: gets a record of each step's number and loss.
    """
    setting = _setting(tower, steps)
    rng = np.random.default_rng(seed)
    pool = _draw_pool(seen_pairs(), min(setting.twins, 1 + setting.steps // 8), rng)
    words = _Vocabulary()
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(seed)
        full_clip, clip = _clip(tower, setting), _clip(tower, setting, words)
        _train(clip, tower, words, pool, setting, rng, reporter)
    merged = _merge(full_clip, clip, words)
    ClipModel("tinyclip", _config(tower), read=lambda: merged).save(out)
    write_json(out / MARK, _content(tower, setting, seed))
    return out


def cached_tower(
    tower: Tower,
    folder: Path | None = None,
    *,
    steps: int | None = None,
    seed: int = 0,
    reporter: Reporter = Reporter(),
) -> Path:
    """Return the cached folder of a tower, training it if needed.

    The cache key covers the tower, its settings, the seed and PROGRAM.

    Args:
        folder: cache folder; None is `texthead.files.cache_dir() / "paper"`.
        steps, seed, reporter: as in `pretrain`.
    """
    content = _content(tower, _setting(tower, steps), seed)
    out = (folder or cache_dir() / "paper") / f"tinyclip-{tower}-{digest(tower, steps=steps, seed=seed)}"
    if (out / MARK).is_file() and read_json(out / MARK) == content:
        return out
    return pretrain(tower, out, steps=steps, seed=seed, reporter=reporter)


def digest(tower: Tower, *, steps: int | None = None, seed: int = 0) -> str:
    """Return a digest of a tower's settings, the seed and PROGRAM."""
    content = _content(tower, _setting(tower, steps), seed)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def at_size(folder: Path, size: int, out: Path) -> Path:
    """Write the ViT of `folder` to `out` for another input size, with interpolated position embeddings; return `out`.

    Args:
        size: a multiple of the patch size.
    """
    config = read_json(folder / "open_clip_config.json")["model_cfg"]
    config["vision_cfg"]["image_size"] = size
    with torch.device("meta"):
        clip = open_clip.CLIP(
            config["embed_dim"],
            open_clip.CLIPVisionCfg(**config["vision_cfg"]),
            open_clip.CLIPTextCfg(**config["text_cfg"]),
        )
    tensors = ClipModel.from_name(f"local-dir:{folder}").tensors()
    resize_pos_embed(tensors, clip)
    ClipModel("tinyclip", config, read=lambda: tensors).save(out)
    return out


@torch.no_grad()
def zero_shot(folder: Path) -> float:
    """Return zero-shot top-1 in percent on new stills of the 48 unseen pairs, with prompts like "a red circle".

    Chance is 2.1 %.
    """
    encoder = load_encoder(f"openclip:local-dir:{folder}")
    pairs = unseen_pairs()
    rows = F.normalize(encoder.encode_text([pair.name for pair in pairs]), dim=-1)
    rng = np.random.default_rng(_SCORE_SEED)
    pictures, labels = draw_shape_pictures(pairs, _SCORED, rng=rng, size=encoder.visual.spec.size)
    # Features need no normalization: their norm does not change the argmax.
    best = torch.cat([(encoder.visual(chunk) @ rows.T).argmax(-1) for chunk in _frames(pictures).split(128)])
    return 100.0 * float((best == torch.from_numpy(labels)).float().mean())


def _setting(tower: Tower, steps: int | None) -> Setting:
    """Return the tower's settings, with `steps` overridden unless it is None."""
    return SETTINGS[tower] if steps is None else replace(SETTINGS[tower], steps=steps)


def _content(tower: Tower, setting: Setting, seed: int) -> dict[str, Any]:
    """Return everything that determines the weights, as plain values."""
    return {"tower": tower, "seed": seed, "setting": asdict(setting), "model": _config(tower), "program": PROGRAM}


# ---------------------------------------------------------------------------------------------- the model


def _config(tower: Tower) -> dict[str, Any]:
    """Return open_clip's model config."""
    return {"embed_dim": DIM, "vision_cfg": VISION[tower], "text_cfg": dict(TEXT)}


class _Vocabulary:
    """Tokenizer with a reduced vocabulary: only the tokens of captions, whose embeddings are trained.

    The end-of-text token keeps the highest id, by which open_clip finds it.
    """

    def __init__(self):
        self._tokenize = SimpleTokenizer()
        texts = [
            *FORMS,
            *(pair.name for pair in all_pairs()),
            *itertools.chain(*OPPOSITES),
            *MOTIONS,
            "a",
            "an",
        ]
        self.tokens: Int[Tensor, " words"] = self._tokenize(texts, context_length=TRAINED_LENGTH).unique()
        # nn.Embedding raises for -1, so an unknown token is an error.
        self._ids = torch.full((TEXT["vocab_size"],), -1)
        self._ids[self.tokens] = torch.arange(len(self.tokens))

    def __len__(self) -> int:
        return len(self.tokens)

    def __call__(self, captions: Sequence[str]) -> Int[Tensor, "captions length"]:
        """Return the reduced token ids of each caption."""
        return self._ids[self._tokenize(list(captions), context_length=TRAINED_LENGTH)]


def _clip(tower: Tower, setting: Setting, words: _Vocabulary | None = None) -> open_clip.CLIP:
    """Build the model with random weights; with `words`, for its vocabulary and the training context length."""
    short: dict[str, Any] = {} if words is None else {"context_length": TRAINED_LENGTH, "vocab_size": len(words)}
    vision, text = open_clip.CLIPVisionCfg(**VISION[tower]), open_clip.CLIPTextCfg(**{**TEXT, **short})
    clip = open_clip.CLIP(DIM, vision, text, init_logit_scale=math.log(setting.first_scale))
    nn.init.normal_(clip.get_parameter("token_embedding.weight"), std=setting.token_std)
    return clip


def _merge(full_clip: open_clip.CLIP, clip: open_clip.CLIP, words: _Vocabulary) -> dict[str, Tensor]:
    """Merge the trained tensors into the full model; other tokens and positions keep their random embeddings."""
    tensors, trained = full_clip.state_dict(), clip.state_dict()
    tensors["token_embedding.weight"][words.tokens] = trained.pop("token_embedding.weight")
    tensors["positional_embedding"][:TRAINED_LENGTH] = trained.pop("positional_embedding")
    return {**tensors, **trained}


# ---------------------------------------------------------------------------------------------- the training


@dataclass(frozen=True)
class _Pool:
    """Twin pictures of each pair, as one tensor and with their words."""

    pairs: Sequence[Pair]
    pixels: UInt8[Tensor, "pairs twins 2 3 size size"]
    drawn: list[list[tuple[Picture, Picture]]]


def _draw_pool(pairs: Sequence[Pair], twins: int, rng: np.random.Generator) -> _Pool:
    drawn = [[draw_twins(pair, rng=rng, size=SIZE) for _ in range(twins)] for pair in pairs]
    pixels = np.stack([picture.pixels for of_pair in drawn for both in of_pair for picture in both])
    return _Pool(pairs, _frames(pixels).view(len(pairs), twins, 2, 3, SIZE, SIZE), drawn)


def _frames(pixels: UInt8[np.ndarray, "frames size size 3"]) -> UInt8[Tensor, "frames 3 size size"]:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def _draw_batch(
    pool: _Pool, setting: Setting, rng: np.random.Generator
) -> tuple[UInt8[Tensor, "batch 3 size size"], list[str]]:
    """Draw pictures with captions, each true of its own picture only.

    A batch holds either one picture per pair, or twins with captions that state their difference.
    """
    twins = bool(rng.uniform() < setting.twin_share)
    picked = rng.permutation(len(pool.pairs))[: setting.batch // 2 if twins else setting.batch]
    pairs = np.repeat(picked, 2) if twins else picked
    groups = rng.integers(pool.pixels.shape[1], size=len(picked)).repeat(2 if twins else 1)
    sides = np.tile((0, 1), len(picked)) if twins else rng.integers(2, size=len(picked))
    captions = []
    for pair, group, side in zip(pairs.tolist(), groups.tolist(), sides.tolist(), strict=True):
        picture = pool.drawn[pair][group][side]
        captions.append(
            caption(pool.pairs[pair], picture.words, rng, required=picture.distinguishing if twins else None)
        )
    return pool.pixels[torch.from_numpy(pairs), torch.from_numpy(groups), torch.from_numpy(sides)], captions


def _train(
    clip: open_clip.CLIP,
    tower: Tower,
    words: _Vocabulary,
    pool: _Pool,
    setting: Setting,
    rng: np.random.Generator,
    reporter: Reporter,
) -> None:
    """Train both towers in place."""
    visual = VisualEncoder(clip.visual, ClipModel("tinyclip", _config(tower)).spec)
    optimizer = torch.optim.AdamW(_groups(clip, setting), lr=setting.rate, betas=(0.9, 0.98))
    clip.train()
    for step in range(setting.steps):
        for group in optimizer.param_groups:
            group["lr"] = setting.rate * _rate_factor(step, setting)
        pixels, captions = _draw_batch(pool, setting, rng)
        features = visual(_augment((pixels - visual.mean) / visual.std, setting.varied))
        rows = clip.encode_text(words(captions))
        loss = _symmetric(features, rows, clip.logit_scale.exp().clamp(max=setting.largest_scale))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(clip.parameters(), setting.norm)
        optimizer.step()
        reporter.record({"step": step + 1, "loss": loss.item()})
    clip.eval()


def _augment(frames: Float[Tensor, "frames 3 size size"], varied: float) -> Float[Tensor, "frames 3 size size"]:
    """Randomly rotate, scale and shift each frame, using torch's global generator; borders are mirrored."""
    if not varied:
        return frames
    draw = varied * (2 * torch.rand(4, len(frames)) - 1)
    angle, factor = math.radians(15) * draw[0], (0.12 * draw[1]).exp()
    cos, sin = angle.cos() * factor, angle.sin() * factor
    # A side of the frame has length 2 in this grid: 0.14 is 7 % of it.
    rows = [torch.stack([cos, -sin, 0.14 * draw[2]], dim=1), torch.stack([sin, cos, 0.14 * draw[3]], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(frames.shape), align_corners=False)
    return F.grid_sample(frames, grid, padding_mode="reflection", align_corners=False)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread, so that the weights do not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _symmetric(
    features: Float[Tensor, "batch dim"], rows: Float[Tensor, "batch dim"], scale: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """Return the mean of Eq. 2 from pictures to captions and from captions to pictures."""
    labels = torch.arange(len(features))
    loss = partial(matching_loss, labels=labels, scale=scale, targets="one_hot")
    return (loss(features, rows) + loss(rows, features)) / 2


def _groups(clip: open_clip.CLIP, setting: Setting) -> list[dict[str, Any]]:
    """Return optimizer groups: weight decay only on matrices that are not embeddings."""
    decay, others = [], []
    for name, parameter in clip.named_parameters():
        (decay if parameter.ndim > 1 and "embedding" not in name else others).append(parameter)
    return [{"params": decay, "weight_decay": setting.weight_decay}, {"params": others, "weight_decay": 0.0}]


def _rate_factor(step: int, setting: Setting) -> float:
    """Return the learning rate factor at a step: linear warm-up times cosine decay."""
    return min(1.0, (step + 1) / setting.warmup) * 0.5 * (1 + math.cos(math.pi * step / setting.steps))
