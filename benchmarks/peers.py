"""Images per CPU-second from JPEG files to features, as a user of each library would write it.

    python -m benchmarks peers [--rounds 5]

The same drawn JPEG files of 500x400, the same weights (those of a ViT-B/32 are random), eight images at a time, all in
one process of one thread; the graph of `mini` is exported beforehand. With a ViT-B/32 `auto` uses onnxruntime only
from about a hundred images on, where opening the graph pays. All features, minus their mean over the images, must have
a cosine of at least 0.999 with texthead's; resizing differs a little.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import open_clip
import torch
import transformers
from PIL import Image, ImageDraw
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

import texthead as th
from benchmarks.rounds import Costs, Row, Section, interleaved, timed
from texthead.data.clips import ViewClips
from texthead.encoders.encoder import Encoder
from texthead.encoders.lazy import weights_digest
from texthead.features.engine import Engine, graph_path, make_graph, quiet

WIDTH, HEIGHT, BATCH = 500, 400, 8
MOST = 1e-3
TEXTHEAD, ALONE = "texthead.FrozenEncoder", "texthead's encoder alone, on ready frames"

Way = Callable[[Sequence[Path]], Tensor]


def draw(folder: Path, count: int) -> list[Path]:
    """Write JPEG files: shapes on a soft background with a little noise."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{number:03d}.jpg" for number in range(count)]
    for path in paths:
        soft = Image.fromarray(rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)).resize((WIDTH, HEIGHT), 3)
        for _ in range(6):
            x, y, side = (int(rng.integers(low, high)) for low, high in ((0, WIDTH), (0, HEIGHT), (20, 200)))
            ImageDraw.Draw(soft).ellipse((x, y, x + side, y + side), fill=tuple(rng.integers(0, 256, 3).tolist()))
        noisy = np.asarray(soft, np.float32) + rng.normal(0, 6, (HEIGHT, WIDTH, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return paths


class Files(Dataset):
    """Preprocessed images."""

    def __init__(self, paths: Sequence[Path], preprocess: Callable[[Image.Image], Tensor]):
        self.paths, self.preprocess = paths, preprocess

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return self.preprocess(Image.open(self.paths[index]).convert("RGB"))


@torch.inference_mode()
def looped(encode: Callable[[Tensor], Tensor], preprocess: Callable, paths: Sequence[Path]) -> Tensor:
    """Encode in a loop over a DataLoader, as open_clip and timm document it."""
    return torch.cat([encode(batch) for batch in DataLoader(Files(paths, preprocess), batch_size=BATCH)])


def texthead_ways(encoder: Encoder) -> dict[str, Way]:
    """Return texthead's method and its encoder alone."""
    visual = encoder.visual
    protocol = th.Protocol(1, visual.spec.pixels(), th.Views(origin="center"))
    frozen = th.FrozenEncoder(encoder, protocol, th.ReadOptions(batch=BATCH, engine="auto"))

    @cache
    def ready(paths: tuple[Path, ...]) -> tuple[Engine, Tensor]:
        clips = ViewClips(paths, protocol)
        views = [clip[0] for clip in (clips[i] for i in range(len(paths))) if isinstance(clip, Tensor)]
        return Engine(visual, "auto", len(paths)), torch.cat(views)

    @torch.inference_mode()
    def alone(paths: Sequence[Path]) -> Tensor:
        engine, frames = ready(tuple(paths))
        return torch.cat([engine(batch) for batch in frames.split(BATCH)])

    return {TEXTHEAD: lambda paths: frozen.files(paths).features, ALONE: alone}


def mini_ways(folder: Path) -> dict[str, Way]:
    """Return the methods for `mini`: texthead, a loop over its network in torch, and one over its exported graph."""
    import onnxruntime

    encoder = th.load_encoder("mini")
    visual, spec = encoder.visual.eval(), encoder.visual.spec
    side, resized = spec.size, round(spec.size / spec.crop)
    blank = torch.zeros(BATCH, 3, side, side, dtype=torch.uint8)
    make_graph(graph_path(weights_digest(visual), side), visual, blank)
    resize = v2.Resize(resized, v2.InterpolationMode(spec.interpolation))
    to_float = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(spec.mean, spec.std)])
    preprocess = v2.Compose([resize, v2.CenterCrop(side), to_float])
    graph = folder / "mini.onnx"
    with torch.no_grad(), quiet():
        example, axes = (torch.zeros(2, 3, side, side),), {"x": {0: "n"}, "y": {0: "n"}}
        torch.onnx.export(
            visual.net, example, graph, input_names=["x"], output_names=["y"], dynamic_axes=axes, dynamo=False
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    mean, std = (np.array(value, np.float32)[:, None, None] for value in (spec.mean, spec.std))

    def pillow(path: Path) -> np.ndarray:
        image = Image.open(path).convert("RGB")
        scale = resized / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        pixels = np.asarray(image.crop((left, top, left + side, top + side)), np.float32) / 255
        return (pixels.transpose(2, 0, 1) - mean) / std

    def by_hand(paths: Sequence[Path]) -> Tensor:
        batches = [np.stack([pillow(path) for path in paths[i : i + BATCH]]) for i in range(0, len(paths), BATCH)]
        rows = [torch.from_numpy(np.asarray(session.run(None, {"x": batch})[0])) for batch in batches]
        return torch.cat(rows)

    return {
        **texthead_ways(encoder),
        "DataLoader, torchvision, torch": partial(looped, visual.net, preprocess),
        "Pillow, onnxruntime": by_hand,
    }


def open_clip_ways(folder: Path, architecture: str = "ViT-B-32") -> dict[str, Way]:
    """Return the methods for a tower of open_clip: texthead and the documented loop."""
    torch.manual_seed(0)
    model: Any
    model, _, preprocess = open_clip.create_model_and_transforms(architecture)
    torch.save(model.eval().state_dict(), folder / "clip.pt")
    ours = th.load_encoder(f"openclip:{architecture}-gelu/{folder / 'clip.pt'}")
    return {**texthead_ways(ours), "open_clip": partial(looped, model.encode_image, cast("Any", preprocess))}


def transformers_ways(folder: Path, **vision: Any) -> dict[str, Way]:
    """Return the methods for a CLIP folder in transformers' format (default ViT-B/32): texthead and the pipeline."""
    torch.manual_seed(0)
    text: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
    }
    config: Any = transformers.CLIPConfig(text_config=text, vision_config=vision)
    transformers.utils.logging.set_verbosity_error()
    transformers.CLIPModel(config).save_pretrained(folder)
    side = config.vision_config.image_size
    sizes: dict[str, Any] = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    processor = transformers.CLIPImageProcessor(**sizes)
    processor.save_pretrained(folder)
    model = transformers.CLIPVisionModelWithProjection.from_pretrained(folder).eval()
    pipe = transformers.pipeline("image-feature-extraction", model=model, image_processor=processor, device="cpu")

    def way(paths: Sequence[Path]) -> Tensor:
        return torch.cat(list(pipe([str(path) for path in paths], batch_size=BATCH, return_tensors=True)))

    return {**texthead_ways(th.load_encoder(f"hf:{folder}")), "transformers pipeline": way}


def measure(groups: dict[str, dict[str, Way]], every: Sequence[Path], rounds: int) -> Section:
    """Measure some encoders' methods; those of a ViT, which take most of the time, on a quarter of the files.

    Raises:
        ValueError: a method has other features.
    """
    all_costs: Costs = {}
    rows = []
    for encoder, ways in groups.items():
        paths, target = (every[: len(every) // 4], 0.95) if "ViT" in encoder else (every, 1.0)
        timing = {f"{encoder}: {name}": timed(partial(way, paths), len(paths)) for name, way in ways.items()}
        all_costs |= interleaved(timing, rounds)
        reference = ways[TEXTHEAD](paths)
        for name, way in ways.items():
            own, other = ((features - features.mean(0)).double() for features in (way(paths), reference))
            gap = 1 - torch.cosine_similarity(own, other).min().item()
            if gap > MOST:
                raise ValueError(f"{encoder}, {name}: 1 - cosine is {gap:.0e}")
            if name not in (TEXTHEAD, ALONE):
                titles = f"{encoder}: {TEXTHEAD}", f"{encoder}: {name}", target, f"{encoder}: {ALONE}"
                rows.append(Row(f"JPEG files to features, {encoder}", name, *titles, "encoder alone"))
    return Section(all_costs, rows)


def section(rounds: int, _: Path, images: int = 32) -> Section:
    """Measure `mini` and two ViT-B/32."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["TEXTHEAD_CACHE"] = scratch  # The process is this section's own.
        folder = Path(scratch)
        groups = {
            "`mini`": mini_ways(folder),
            "ViT-B/32 of open_clip": open_clip_ways(folder),
            "ViT-B/32 of transformers": transformers_ways(folder / "hf"),
        }
        return measure(groups, draw(folder, images), rounds)
