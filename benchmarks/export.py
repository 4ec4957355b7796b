"""Changed answers, accuracy, size and time of exported runs.

    python -m benchmarks.export --data ../shared/data

Each set's run is trained on a frozen `mini` and exported in both formats; the run in torch and each folder's model
score the whole test split, all on the same pixels and with one thread. The interval is Wilson's. Times are CPU
milliseconds per clip, medians over the split, of the model alone. The last rows are a ViT-B/32 tower with random
weights, for size and time only.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import open_clip
import torch

import texthead as th
from benchmarks.__main__ import machine
from texthead.apps.export import standalone
from texthead.apps.export.export import MODELS, To, preprocessing
from texthead.apps.export.parity import noise_clips
from texthead.apps.export.scorer import Scorer
from texthead.cli import main as cli
from texthead.data.protocol import Pixels, Protocol
from texthead.encoders.encoder import build_visual
from texthead.encoders.spec import VisualSpec
from texthead.evaluation.intervals import binomial_interval
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.runs.folder import write_run
from texthead.runs.run import Run

SETS = {
    "clothing": ("image/clothing/images.csv", ["--head", "cosine"]),
    "airborne": ("video/airborne/clips.csv", []),
}
WAYS: tuple[To, ...] = ("onnx", "torch")

Score = Callable[[np.ndarray], np.ndarray]


def scorer_of(run: Run, protocol: Protocol) -> Score:
    """Return the scores of the run's own model."""
    model = Scorer(run.model, protocol).eval()

    def score(clips: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(clips)).numpy()

    return score


def clips_of(run: Run, protocol: Protocol, data: th.Dataset) -> list[np.ndarray]:
    """Return the model's input for each item."""
    settings = preprocessing(Scorer(run.model, protocol), "onnx")
    return [standalone.read_clips(item.path, settings)[None] for item in data.items]


def folder_of(folder: Path, to: To) -> Score:
    """Return the scores of an exported folder's model, with one thread."""
    file = folder / MODELS[to]
    if to == "torch":
        program = torch.export.load(file).module()
        return lambda clips: program(torch.from_numpy(clips)).detach().numpy()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda clips: np.asarray(session.run(None, {"clips": clips})[0])


def scored(score: Score, clips: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """Return (the scores of each clip, the median of CPU milliseconds)."""
    rows, times = [], []
    score(clips[0])
    for clip in clips:
        began = time.process_time()
        rows.append(score(clip)[0])
        times.append(1e3 * (time.process_time() - began))
    return np.stack(rows), float(np.median(times))


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return probabilities."""
    odds = np.exp(scores - scores.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def row(name: str, way: str, exported: np.ndarray, base: np.ndarray, truth: np.ndarray, size: float, times: str) -> str:
    """Return a line of the table."""
    right, count = int((exported.argmax(1) == truth).sum()), len(truth)
    low, high = binomial_interval(right, count)
    changed = int((exported.argmax(1) != base.argmax(1)).sum())
    far = float(np.abs(softmax(exported) - softmax(base)).max())
    accuracy = f"{100 * right / count:.1f} ({low:.1f}-{high:.1f})"
    return f"| {name} | {way} | {accuracy} | {changed} of {count} | {far:.1e} | {size:.1f} | {times} |"


def rows_of(name: str, data: th.Dataset, run: Run, scratch: Path) -> list[str]:
    """Return the lines of a set."""
    protocol = run.protocol
    test = data.split("test")
    clips = clips_of(run, protocol, test)
    truth = np.array([run.labels.index(label) for label in test.labels])
    expected, base = scored(scorer_of(run, protocol), clips)
    run_size = (run.folder / "model.safetensors").stat().st_size / 1e6
    lines = [row(name, "the run, torch", expected, expected, truth, run_size, f"{base:.1f} (1.0x)")]
    for to in WAYS:
        folder = scratch / f"{name} {to}"
        th.export(run, folder, to=to)
        exported, spent = scored(folder_of(folder, to), clips)
        size = (folder / MODELS[to]).stat().st_size / 1e6
        lines.append(row(name, to, exported, expected, truth, size, f"{spent:.1f} ({base / spent:.1f}x)"))
    return lines


def vit_rows(scratch: Path, clips: int = 12) -> list[str]:
    """Return the lines of a ViT-B/32 with random weights, on single frames."""
    config = open_clip.get_model_config("ViT-B-32")
    assert config is not None
    spec = VisualSpec(
        source="random",
        architecture="openclip",
        dim=config["embed_dim"],
        size=224,
        crop=1.0,
        interpolation="bicubic",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        activation="gelu",
        channels_last=False,
        any_size=False,
        config=json.dumps({"embed_dim": config["embed_dim"], "vision_cfg": config["vision_cfg"], "quick_gelu": False}),
    )
    torch.manual_seed(0)
    pixels, names = Pixels(224, 224, "bicubic"), ["a", "b"]
    head = th.FrozenHead(torch.randn(2, spec.dim), names=names)
    recipe = th.Recipe(name="random", frames=1, size=224, resize=224)
    write_run(scratch / "vit", Recognizer(build_visual(spec), MeanPool(), head), recipe, pixels, names)
    run = th.load_run(scratch / "vit")
    protocol = run.protocol
    noise = [noise_clips(1, 1, preprocessing(Scorer(run.model, protocol), "onnx"))] * clips
    _, base = scored(scorer_of(run, protocol), noise)
    run_size = (run.folder / "model.safetensors").stat().st_size / 1e6
    lines = [f"| ViT-B/32, random | the run, torch | | | | {run_size:.1f} | {base:.1f} (1.0x) |"]
    th.export(run, scratch / "vit onnx", to="onnx")
    _, spent = scored(folder_of(scratch / "vit onnx", "onnx"), noise)
    size = (scratch / "vit onnx" / MODELS["onnx"]).stat().st_size / 1e6
    return [*lines, f"| ViT-B/32, random | onnx | | | | {size:.1f} | {spent:.1f} ({base / spent:.1f}x) |"]


def main() -> None:
    """Train, export, score and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for name in options.sets:
            source, typed = SETS[name]
            command = ["train", str(options.data / source), "--out", str(scratch / name), "--freeze-encoder", *typed]
            if cli.main([*command, "--baselines", "never", "--workers", "0"]):
                raise SystemExit(2)
            lines += rows_of(name, th.read_dataset(options.data / source), th.load_run(scratch / name), scratch)
        lines += vit_rows(scratch)
    print(f"{machine()} onnxruntime {onnxruntime.__version__}\n")
    print("| set | model | top-1 (95 %) | changed answers | largest change of a probability | MB | CPU-ms per clip |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
