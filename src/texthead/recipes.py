"""Recipes: functions that return all hyper-parameters of a run as a frozen `Recipe`. Imports no torch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, Literal

from texthead.errors import (
    NonNegativeInt,
    PositiveInt,
    Rule,
    RunError,
    Share,
    check_fields,
    check_types,
    did_you_mean,
    either,
)
from texthead.extensions import Extension, find

# The heads that training can start with: rows, or subclasses of `models.heads.Head`.
HEADS = {
    "text": "texthead.models.head_rows:text",
    "lda": "texthead.models.head_rows:lda",
    "cosine": "texthead.models.head_rows:cosine",
    "linear": "texthead.models.heads:LinearHead",
}

# Subclasses of `models.temporal.Temporal`, functions of a model that return a `training.objective.Objective`, and
# functions of a clip.
TEMPORALS = {
    "mean": "texthead.models.temporal:MeanPool",
    "transformer": "texthead.models.temporal:TemporalTransformer",
    "attentive": "texthead.models.temporal:AttentivePool",
    "vjepa2": "texthead.models.temporal:VJEPA2Pool",
}
# What may follow the name of a temporal module, as in "transformer:layers=2,width=256".
SIZES = {"transformer": ("layers", "width"), "attentive": ("width",), "vjepa2": ("layers",)}
# What the recipe `small` takes for a name alone.
_OF_SMALL = {"transformer": "transformer:layers=2,width=256", "attentive": "attentive:width=256"}
LOSSES = {"cross-entropy": "texthead.training.objective:cross_entropy"}
AUGMENTATIONS = {
    "none": "texthead.data.transforms:unchanged",
    "rand-augment": "texthead.data.transforms:rand_augment",
}

# What an option names: the group of the entry points by which installed packages add more, and our own.
NAMED = {
    "head": ("texthead.heads", HEADS),
    "temporal": ("texthead.temporal", TEMPORALS),
    "loss": ("texthead.losses", LOSSES),
    "augment": ("texthead.augmentations", AUGMENTATIONS),
}

# Methods that fit a head to the features of a frozen encoder, the default first.
MethodName = Literal["text-probe", "probe", "zero-shot", "zero-shot-centered"]

# The functions of this module that return a recipe.
RecipeName = Literal["small", "paper", "text4vis"]

# How frequent classes are in what will be predicted: equally, or as in the labels.
ClassShares = Literal["equal", "labels"]

# Engines that compute the features of a frozen encoder (features/engine.py).
EngineName = Literal["auto", "eager", "onnxruntime", "onnxruntime:cuda"]

# Which frame of each segment a test clip takes, or windows of 128 frames.
Origin = Literal["first", "center", "middle", "dense"]

# The direction in which three test crops are placed.
Along = Literal["width", "long-side"]

# What is averaged over the views of an item.
Pooling = Literal["features", "logits", "probabilities"]

# How still images are decoded, except for training crops.
Decode = Literal["reduced", "exact"]

# Recipe values that a head on frozen features uses, too.
OF_FROZEN = ("frames", "size", "resize", "decode", "template", "class_shares", "seed")

# Heads for an encoder without a text tower.
WITHOUT_TEXT = ", ".join(kind for kind in HEADS if kind != "text")

# Frames of a clip, and its side in pixels. Larger values are mistakes, or meant to exhaust memory.
MAX_FRAMES_OF_CLIP = 1024

MAX_SIDE = 4096

MAX_RATE = 1e30  # Learning rate; AdamW's floats overflow above.

MAX_PIXELS = 2**28  # 0.8 GB of frames, as 1,024 of 512 x 512


def named(option: str, name: str) -> Extension:
    """Return the entry that an option of `NAMED` names, texthead's own or a package's; nothing is imported.

    Raises:
        RunError: no installed package has it.
    """
    entries = find(*NAMED[option])
    if name not in entries:
        known = [each for each, entry in entries.items() if each in NAMED[option][1] or not entry.ours]
        raise RunError(f"`{option}` must be {either(known)}, or from a package that you install, got {name!r}")
    return entries[name]


def temporal_sizes(temporal: str) -> tuple[str, dict[str, int]]:
    """Return the name of a temporal module and its sizes.

    "transformer:layers=2,width=256" gives ("transformer", {"layers": 2, "width": 256}).

    Raises:
        RunError: the module has no such size, or it is not a positive whole number.
    """
    name, colon, text = (each.strip() for each in temporal.partition(":"))
    sizes: dict[str, int] = {}
    for part in text.split(",") if colon else ():
        key, _, number = (each.strip() for each in part.partition("="))
        if key not in SIZES.get(name, ()) or not number.isdecimal() or int(number) < 1:
            known = [f"{name}:{each}=NUMBER" for each in SIZES.get(name, ())]
            raise RunError(f"`temporal` must be {either([name, *known])}, with numbers from 1 on, got {temporal!r}")
        sizes[key] = int(number)
    return name, sizes


def check_clip_size(frames: int, size: int, resize: int) -> None:
    """Raise RunError if a crop, the short side before it, or all frames of a clip are too large."""
    if not (1 <= size <= MAX_SIDE and 1 <= resize <= MAX_SIDE and frames * size**2 <= MAX_PIXELS):
        rule = f"from 1 to {MAX_SIDE:,} pixels, with at most {MAX_PIXELS:,} pixels in a clip's {frames:,} frames"
        raise RunError(f"`size` and `resize` must be {rule}, got {size} and {resize}; use smaller ones or fewer frames")


# Numbers with a range: the rule in words, and its test.
_Frames = Annotated[
    int, Rule(f"a whole number from 1 to {MAX_FRAMES_OF_CLIP:,}", lambda frames: 1 <= frames <= MAX_FRAMES_OF_CLIP)
]
_Side = Annotated[int, Rule(f"a whole number from 16 to {MAX_SIDE:,} pixels", lambda side: 16 <= side <= MAX_SIDE)]
_Rate = Annotated[float, Rule(f"a number from 0 to {MAX_RATE:g}", lambda rate: 0 <= rate <= MAX_RATE)]
_Finite = Annotated[float, Rule("a finite number, 0 or more", lambda number: 0 <= number < math.inf)]
_Scale = Annotated[float, Rule("a finite number above 0", lambda scale: 0 < scale < math.inf)]


@dataclass(frozen=True)
class Recipe:
    """All hyper-parameters of a run, saved as `recipe.json` in its folder.

    The first clause of each description is its comment in `--print-recipe`.

    Args:
        name: name of the function that made the recipe.
        frames: frames per clip; T.
        size: crop side in pixels; None is the encoder's input size.
        test_size: crop side in testing, in pixels; None is size; objects look larger in random boxes than in whole
            frames, so a larger test size matches what was learned (FixRes, Touvron et al. 2019).
        resize: short side before cropping, in pixels; None is size over the encoder's crop fraction.
        decode: large JPEGs at 1/2, 1/4 or 1/8 of their size, at least twice `resize` (reduced), or whole (exact);
            training crops are always cut from whole images.
        origin: frame taken from each segment in testing, or windows of 128 frames ("dense").
        stride: distance between a clip's frames, in video frames (0: spread over the whole video). Training clips start
            anywhere, test clips at equal distances; the frames of a shorter video are spread. The default is the
            encoder's stride if it is a video encoder that defines one.
        pooling: what is averaged over views in testing.
        crops_along: direction in which three test crops are placed.
        crop: training crop: size x size from the resized frame ("random"), a box of random area whose sides are to each
            other as 3:4 at most ("resized") or equal ("square"); or as in the published code: a resized box scaled
            bilinearly, a fifth of the clips gray ("text4vis").
        area: range of the random box's area, as a fraction of the frame.
        flip: probability of mirroring a clip.
        augment: what training clips go through before they are cropped: nothing (none), torchvision's RandAugment
            (rand-augment), or what an installed package has under this name; rand-augment draws two operations per
            clip.
        epochs: passes over the training items.
        batch: clips per optimiser step.
        accumulate: forward and backward passes per optimiser step; each takes batch / accumulate clips, rounded up.
        lr: peak learning rate of pretrained weights and of the logit scale.
        lr_new: peak learning rate of the temporal module and of a trainable head.
        weight_decay: weight decay of AdamW.
        warmup: epochs of linear warm-up; cosine decay follows.
        clip_norm: largest gradient norm (0: no limit).
        precision: precision of the forward pass; weights stay float32. None is bf16 on a GPU that has it, else fp32,
            also on a CPU, where bf16 may be a hundred times slower.
        freeze_batchnorm: keep the pretrained batch-norm statistics.
        tune: encoder weights to fine-tune: all of them, low-rank adapters of its attention, scales and biases of its
            norms, or none; with none, the temporal module and the head are trained on frame
            features that are encoded once.
        grad_checkpointing: recompute blocks in the backward pass: less memory, a third more time.
        scale: logit scale: the encoder's at first, then trained ("learned"), a number that stays, or None for the
            encoder's. For multi-label data, the scale that suits the training items is in place of the encoder's.
        center: subtract the mean feature of the training items, from the pretrained encoder, in a cosine head.
        temporal: module between frames and head; "attentive" is a learned query over the frames, or over the grid of a
            video encoder, "vjepa2" the probe of V-JEPA 2, which has self-attention before it, or what an installed
            package has under this name; images (one frame) always use "mean". Sizes follow a colon:
            "transformer:layers=6,width=512" (blocks, and their width instead of the feature's), "attentive:width=512",
            "vjepa2:layers=3" (self-attention layers).
        template: prompt for the class names, with one {} for the name, or several of them (on the command line, a .txt
            file with one per line).
        loss: the loss of fine-tuning: the cross-entropy over all classes, or what an installed package has under this
            name.
        class_shares: how frequent classes are in what will be predicted: equally (equal), or as in the labels (labels);
            for equal frequencies, fine-tuning adds log(label frequency x classes) to the logits in its loss (Menon et
            al., ICLR 2021).
        seed: random seed.
    """

    name: str
    frames: _Frames = 8
    size: _Side | None = None
    test_size: _Side | None = None
    resize: int | None = None
    decode: Decode = "exact"
    origin: Origin = "first"
    stride: NonNegativeInt = 0
    pooling: Pooling = "features"
    crops_along: Along = "width"
    crop: Literal["random", "resized", "square", "text4vis"] = "random"
    area: tuple[float, float] = (0.08, 1.0)
    flip: Share = 0.0
    augment: str = "none"
    epochs: PositiveInt = 30
    batch: PositiveInt = 128
    accumulate: int = 1
    lr: _Rate = 5e-6
    lr_new: _Rate = 5e-5
    weight_decay: _Finite = 0.2
    warmup: float = 5.0
    clip_norm: _Finite = 0.0
    precision: Literal["fp32", "bf16"] | None = None
    freeze_batchnorm: bool = False
    tune: Literal["all", "lora", "norm", "none"] = "all"
    grad_checkpointing: bool = False
    scale: _Scale | Literal["learned"] | None = "learned"
    center: bool = False
    temporal: str = "transformer"
    template: str | tuple[str, ...] = "{}"
    loss: str = "cross-entropy"
    class_shares: ClassShares = "labels"
    seed: NonNegativeInt = 0

    def __post_init__(self):
        check_fields(self, RunError)
        low, high = self.area
        side, most = self.size or 1, self.epochs
        warmup = f"at least 0 and less than `epochs` ({most}), such as {most / 10:g}"
        rules = {
            "area": (0 < low <= high <= 1, "above 0 and at most 1, low end first"),
            "template": (bool(self.template), "one or more"),
            "resize": (self.resize is None or side <= self.resize <= MAX_SIDE, f"from {side} to {MAX_SIDE:,} pixels"),
            "accumulate": (1 <= self.accumulate <= self.batch, f"from 1 to `batch` ({self.batch})"),
            "grad_checkpointing": (
                not (self.grad_checkpointing and self.frozen),
                "off with `tune=none`, which trains no encoder",
            ),
            "warmup": (0 <= self.warmup < most, warmup),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise RunError(f"`{name}` must be {rule}, got {getattr(self, name)!r}")

    @property
    def frozen(self) -> bool:
        """Whether the encoder stays as it is, so that its features are computed once."""
        return self.tune == "none"

    @property
    def schedule_every(self) -> int:
        """Steps between changes of the learning rate: 10 in the published code, which `text4vis` follows."""
        return 10 if self.name == "text4vis" else 1

    def with_epochs(self, epochs: int) -> "Recipe":
        """Return the recipe with another number of epochs and the same fraction of warm-up."""
        check_types(Recipe, {"epochs": epochs})
        return replace(self, epochs=epochs, warmup=self.warmup * epochs / self.epochs)

    def to_json(self) -> dict[str, object]:
        """Return JSON values, which `Recipe.from_json` reads back."""
        return asdict(self)

    @staticmethod
    def from_json(values: dict) -> "Recipe":
        """Return the recipe that `to_json` wrote.

        Raises:
            RunError: a key is unknown or missing; there are no defaults.
        """
        if wrong := sorted({field.name for field in fields(Recipe)} ^ values.keys()):
            raise RunError(f"recipe lacks, or does not have, {wrong}: it must set every option and no other")
        return Recipe(**check_types(Recipe, values))


def _changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return the recipe with other values; raise RunError for an option that recipes do not have."""
    names = [field.name for field in fields(Recipe)]
    for unknown in sorted(changes.keys() - {*names}):
        raise RunError(f"recipe has no option {unknown!r}{did_you_mean(unknown, names) or ': th.Recipe lists them'}")
    changed = replace(recipe, **changes)
    for option, name in (
        ("temporal", temporal_sizes(changed.temporal)[0]),
        ("loss", changed.loss),
        ("augment", changed.augment),
    ):
        named(option, name)
    return changed


def paper(**changes) -> Recipe:
    """Return the paper's settings (Sec. 4.1).

    Command: texthead train K400 --encoder openclip:ViT-B-16/openai --recipe paper --out run
    Expected: 81.52 top-1 on Kinetics-400, one view (the paper's number, Table 2; 8 GPUs, 10 hours).
    The paper does not state these: weight decay (0.2, from the published code), the learning rate of new modules
    (5e-5, from the published code), testing on first frames resized to 256 pixels (from the published code; with
    another size, or an encoder of more than 256 pixels, there is no margin), a random crop without flips.
    Warm-up is five epochs, whatever the number of epochs.
    """
    resize = None if "size" in changes else 256
    return _changed(Recipe(name="paper", resize=resize, template="a video of a person {}."), changes)


def text4vis(**changes) -> Recipe:
    """Return the settings of the published logs.

    Command: as `paper`, with --recipe text4vis. The released code: the same with --set augment=none.
    Expected: 81.40 top-1 on Kinetics-400, one view (the published log's number; 8 GPUs x 32 clips). No number is
    published for the released code, which comments out RandAugment.
    Differences from `paper`: batch 256, RandAugment with two operations of strength 9, crops of random area and shape
    that are scaled bilinearly, flips, a fifth of the clips gray, and a learning rate that starts at 0 and changes every
    tenth step only.
    RandAugment is torchvision's, drawn once per clip; the logs of Kinetics-400 print one that is drawn for every frame.
    For Something-Something the published code squashes frames to 320x240 pixels, cuts boxes of ten shapes, and swaps
    the labels of three pairs of classes in flipped clips. None of this is done here.
    """
    base = Recipe(
        name="text4vis",
        resize=None if "size" in changes else 256,
        crop="text4vis",
        flip=0.5,
        augment="rand-augment",
        batch=256,
        template="a video of a person {}.",
    )
    return _changed(base, changes)


def small(**changes) -> Recipe:
    """Return the default settings, for little data on a laptop.

    Command: texthead train DATA --tune all --out run
    Expected: see BENCHMARKS.md (two CPU cores, no GPU).
    Warm-up is a tenth of the epochs unless set. If `size` is set, testing uses it too. A transformer has two blocks of
    width 256, and attentive pooling this width, unless `temporal` has sizes.
    """
    temporal = changes.get("temporal", "transformer")
    base = Recipe(
        name="small",
        size=128,
        test_size=None if "size" in changes else 160,
        decode="reduced",
        origin="center",
        crop="resized",
        area=(0.35, 1.0),
        flip=0.5,
        epochs=10,
        batch=16,
        lr=3e-4,
        lr_new=1e-3,
        weight_decay=0.05,
        warmup=1.0,
        clip_norm=1.0,
        freeze_batchnorm=True,
        scale=None,
        center=True,
        class_shares="equal",
    )
    changes = {**changes, "temporal": _OF_SMALL.get(temporal, temporal)}
    return _changed(base.with_epochs(changes.get("epochs", base.epochs)), changes)


RECIPES: dict[RecipeName, Callable[..., Recipe]] = {"paper": paper, "text4vis": text4vis, "small": small}
