"""What int8 costs a trained ViT, exported or as an engine: accuracy and changed answers, paired over items.

    python -m benchmarks.int8 --data ../shared/data [--sets shapes clothing ...] [--seeds 3]

The ViT is the image tower of the paper's small CLIP (`paper.tinyclip`: four blocks of width 128, 64 pixels), trained
once from a random start on drawn shapes, 6 to 8 minutes. For each set and seed `texthead train` fine-tunes all of it;
the run in torch, its export with `--int8` and the run with `--engine int8` score the test split, on the same pixels.
`shapes` are stills drawn here, of 24 of the pairs that the tower was trained on. The interval is over items, paired, of
the means over seeds (`intervals.paired_interval`).
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import torch
from PIL import Image

import texthead as th
from benchmarks.__main__ import machine
from benchmarks.export import clips_of, folder_of, scored, scorer_of, softmax
from paper.shapes import draw_shape_pictures, seen_pairs
from paper.tinyclip import cached_tower
from texthead.cli import main as cli
from texthead.evaluation.intervals import paired_interval
from texthead.features import Reading, item_features

REAL: Mapping[str, str] = {
    "clothing": "image/clothing/images.csv",
    "handdigits": "image/handdigits/images.csv",
    "objects": "image/objects/images.csv",
    "airborne": "video/airborne/clips.csv",
}
WAYS = ("export", "engine")
PAIRS, TRAINED, TESTED = 24, 8, 20


class Costs(NamedTuple):
    """One run and way: items right before and after, changed answers, the largest change of a probability, size."""

    before: np.ndarray
    after: np.ndarray
    changed: int
    moved: float
    megabytes: tuple[float, float]
    cosine: float


def draw_shapes(out: Path) -> Path:
    """Draw stills of `PAIRS` pairs, `TRAINED` + `TESTED` each; return their manifest."""
    pairs, rows = seen_pairs()[:PAIRS], ["path,label,split"]
    out.mkdir(parents=True)
    for split, each, seed in (("train", TRAINED, 1), ("test", TESTED, 2)):
        pictures, labels = draw_shape_pictures(pairs, each, rng=np.random.default_rng(seed))
        for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            Image.fromarray(picture).save(out / f"{split}{number}.png")
            rows.append(f"{split}{number}.png,{pairs[label].name},{split}")
    (out / "items.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return out / "items.csv"


def costs(source: Path, tower: Path, seed: int, options: argparse.Namespace, out: Path) -> dict[str, Costs]:
    """Train, export and score; return the costs of each way."""
    command = ["train", str(source), "--encoder", f"openclip:local-dir:{tower}", "--out", str(out / "run")]
    command += ["--seed", str(seed), "--epochs", str(options.epochs), "--lr", str(options.lr)]
    if cli.main([*command, "--baselines", "never", "--workers", "0"]):
        raise SystemExit(2)
    run = th.load_run(out / "run")
    th.export(run, out / "int8", to="onnx", int8=True)
    protocol = run.protocol
    test = th.read_dataset(source).split("test")
    clips = clips_of(run, protocol, test)
    truth = np.array([run.labels.index(label) for label in test.labels])
    base, exported = (scored(score, clips)[0] for score in (scorer_of(run, protocol), folder_of(out / "int8", "onnx")))
    paths, features = [item.path for item in test.items], {}
    for engine in ("eager", "int8"):
        reading = Reading(batch=8, engine=engine)
        views = item_features(run.model, paths, protocol, reading)
        features[engine] = torch.stack([each.mean(0) for each in views if isinstance(each, torch.Tensor)])
    with torch.inference_mode():
        encoded = run.model.head(features["int8"]).numpy()
    cosine = float(torch.cosine_similarity(features["eager"], features["int8"]).mean())
    sizes = (run.folder / "model.safetensors", out / "int8" / "model.onnx")
    return {
        way: Costs(
            base.argmax(1) == truth,
            int8.argmax(1) == truth,
            int((base.argmax(1) != int8.argmax(1)).sum()),
            float(np.abs(softmax(base) - softmax(int8)).max()),
            tuple(file.stat().st_size / 1e6 for file in sizes),  # pyright: ignore
            cosine,
        )
        for way, int8 in zip(WAYS, (exported, encoded), strict=True)
    }


def row(name: str, runs: list[Costs]) -> str:
    """Return a line of the table."""
    before, after = (np.stack([getattr(each, which) for each in runs]) for which in ("before", "after"))
    items = before.shape[1]
    lost, won = (float((a & ~b).sum()) / len(runs) for a, b in ((before, after), (after, before)))
    low, high = paired_interval(lost, won, items)
    each = " ".join(
        f"{100 * right.mean():.1f}/{100 * left.mean():.1f}" for right, left in zip(before, after, strict=True)
    )
    changed = " ".join(str(run.changed) for run in runs)
    sizes = f"{runs[0].megabytes[0]:.1f} -> {runs[0].megabytes[1]:.1f}"
    cosine = min(run.cosine for run in runs)
    moved = max(run.moved for run in runs)
    loss = f"{100 * (lost - won) / items:.2f} ({low:.2f} to {high:.2f})"
    return f"| {name} | {items} | {each} | {loss} | {changed} | {moved:.2f} | {cosine:.4f} | {sizes} |"


def main() -> None:
    """Train, export, score and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", default=["shapes", *REAL], choices=["shapes", *REAL])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--lr", type=float, default=3e-5, help="peak learning rate of the tower")
    parser.add_argument("--steps", type=int, default=None, help="training steps of the tower (default: the paper's)")
    parser.add_argument("--kept", type=Path, default=None, help="folder to keep the tower in (default: the paper's)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tower, lines = cached_tower("vit", options.kept, steps=options.steps), []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for name in options.sets:
            source = options.data / REAL[name] if name in REAL else draw_shapes(scratch / "drawn")
            folders = [scratch / name / str(seed) for seed in range(options.seeds)]
            runs: dict[str, list[Costs]] = {way: [] for way in WAYS}
            for seed, out in enumerate(folders):
                for way, cost in costs(source, tower, seed, options, out).items():
                    runs[way].append(cost)
                    print(row(f"{name}, {way}, seed {seed}", [cost]), flush=True)
            lines += [row(f"{name}, {way}", runs[way]) for way in WAYS]
    print(f"{machine()} onnxruntime {onnxruntime.__version__}\n")
    print(
        "| set | items | top-1 before/after, by seed | points lost (95 %) | changed answers, by seed | "
        "largest change of a probability | mean cosine of the engine's features, smallest | MB exported |"
    )
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
