"""Small real objects for tests: encoders, media, runs, a small disk, a locked folder, malicious files."""

import functools
import json
import os
import pickle
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor, nn

from platforms import WINDOWS, needs_posix, user
from texthead import Dataset, Item, MeanPool, Recognizer
from texthead.data import Pixels, view_crops
from texthead.encoders.encoder import Encoder, TextEncoder, VisualEncoder, build_visual
from texthead.encoders.spec import VisualSpec
from texthead.evaluation.calibration import Calibration, Threshold
from texthead.files import cache_dir
from texthead.models.heads import FrozenHead
from texthead.models.multilabel_head import MultiLabelHead
from texthead.prediction.load import load_run
from texthead.recipes import Recipe
from texthead.runs.folder import rows_digest, write_run

SPEC = VisualSpec(
    source="tiny",
    architecture="timm:test_efficientnet",
    dim=256,
    size=32,
    crop=0.875,
    interpolation="bilinear",
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    activation="silu",
    channels_last=False,
    any_size=True,
)
PIXELS = Pixels(32, 36, "bilinear")
SMALL = Recipe(
    name="test",
    frames=2,
    size=32,
    resize=36,
    crop="resized",
    area=(0.5, 1.0),
    flip=0.5,
    epochs=4,
    batch=4,
    lr=1e-3,
    lr_new=2e-3,
    warmup=1.0,
    clip_norm=1.0,
    freeze_batchnorm=True,
    seed=3,
)
COLOURS = {"red": (210, 40, 40), "green": (40, 190, 60), "blue": (40, 60, 220)}
_X264 = {"crf": "12", "x264-params": "log-level=none"}


@functools.cache
def _tiny_weights(seed: int, spec: VisualSpec) -> dict[str, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        visual = build_visual(spec).train()
        coarse = torch.randint(0, 256, (10, 32, 3, 4, 4), dtype=torch.uint8)
        # Fill the batch-norm statistics: at timm's initialisation all features are tiny and nearly alike.
        with torch.no_grad():
            for frames in coarse.repeat_interleave(spec.size // 4, -1).repeat_interleave(spec.size // 4, -2):
                visual(frames)
    return visual.state_dict()


def with_bridge(cache: Path) -> Path:
    """Let a new cache folder share the bridge of `mini` with the tests' own one, since fitting it takes ten seconds."""
    shared = cache_dir() / "bridge"
    shared.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    if WINDOWS:
        shutil.copytree(shared, cache / "bridge", dirs_exist_ok=True)
    else:
        (cache / "bridge").symlink_to(shared)
    return cache


def tiny_visual(seed: int = 0, spec: VisualSpec = SPEC) -> VisualEncoder:
    """Return a small timm network (0.1 M parameters); the same seed gives the same weights."""
    with torch.random.fork_rng():
        visual = build_visual(spec)
    visual.load_state_dict(_tiny_weights(seed, spec))
    return visual.eval()


def pictures(colour: str, count: int, seed: int) -> list[np.ndarray]:
    """Return 48x48 frames of one colour with a little texture and a moving white square."""
    rng = np.random.default_rng([seed, *colour.encode()])
    texture = np.kron(rng.integers(-25, 26, (12, 12, 3)), np.ones((4, 4, 1)))
    base = np.clip(np.array(COLOURS[colour]) + texture, 0, 255).astype(np.uint8)
    frames = [base.copy() for _ in range(count)]
    for i, frame in enumerate(frames):
        frame[4 * i : 4 * i + 12, 5 * i : 5 * i + 10] = 255
    return frames


def encode(
    path: Path,
    pictures: Sequence[np.ndarray],
    codec: str = "libx264",
    rate: int = 25,
    times: Sequence[int] | None = None,
    base: Fraction = Fraction(1, 25),
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    gop: int | None = None,
    b_frames: int | None = None,
) -> Path:
    """Write a video of the pictures; `times`, in units of `base`, says when each one starts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        (stream.height, stream.width), stream.pix_fmt = pictures[0].shape[:2], pix_fmt
        if times:
            stream.codec_context.time_base = base
        if gop is not None:
            stream.codec_context.gop_size = gop
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times:
                frame.pts, frame.time_base = times[number], base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_video(path: Path, colour: str, frames: int = 6, seed: int = 0, codec: str = "libx264") -> Path:
    """Write a 48x48 video."""
    options = {"rate": 10, "options": _X264} if codec == "libx264" else {}
    return encode(path, pictures(colour, frames, seed), codec, **options)


def write_image(path: Path, colour: str, seed: int = 0) -> Path:
    """Write a 48x48 picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pictures(colour, 1, seed)[0]).save(path)
    return path


def write_frames(template: Path, colour: str, frames: int = 6, seed: int = 0, first: int = 1) -> Path:
    """Write the frames of `write_video` as separate files; the number replaces `{:05d}` or the like in the name."""
    template.parent.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures(colour, frames, seed), first):
        PIL.Image.fromarray(picture).save(template.parent / template.name.format(number))
    return template


def sound(path: Path, cover: Path | None = None) -> Path:
    """Write a file with sound and no video; `cover` is a 48x48 JPEG to embed as its cover."""
    with av.open(str(path), "w", format="mp4") as container:
        audio = container.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 8000
        if cover:
            still = container.add_stream("mjpeg", rate=1)
            still.width, still.height, still.pix_fmt = 48, 48, "yuvj420p"
            still.disposition = av.stream.Disposition.attached_pic
        container.mux([*audio.encode(silence), *audio.encode(None)])
        if cover:
            packet = av.Packet(cover.read_bytes())
            packet.stream, packet.pts, packet.dts = still, 0, 0
            container.mux(packet)
    return path


def write_broken(path: Path) -> Path:
    """Write a file that is not a video, whatever its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not a video at all" * 20)
    return path


def items(*rows: tuple[str, str, str | None], suffix: str = ".mp4") -> Dataset:
    """Return a dataset of (name, label, split) rows; the files need not exist."""
    return Dataset(tuple(Item(Path(f"{name}{suffix}"), (label,), split) for name, label, split in rows), "here")  # pyright: ignore[reportArgumentType]


@contextmanager
def disk_of(folder: Path, kilobytes: int) -> Iterator[Path]:
    """Mount a file system of this size at the folder; skip the test if that is not possible."""
    needs_posix("file systems that a test can mount")
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if user() or not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def frames(count: int, size: int, seed: int = 0) -> Tensor:
    """Return coarse uint8 noise, to which a convolutional network responds."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (count, 3, size // 8, size // 8), generator=generator, dtype=torch.uint8)
    return coarse.repeat_interleave(8, 2).repeat_interleave(8, 3)


def smooth(*, height: int, width: int) -> Tensor:
    """Return a picture of soft random blobs, in uint8, "3 height width"."""
    coarse = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    return (255 * fine[0]).clamp(0, 255).round().to(torch.uint8)


def write_untrained(out: Path, model: Recognizer, frames: int = 2) -> Path:
    """Write a run folder for this model, with an empty split."""
    write_run(out, model, Recipe(name="test", frames=frames, size=32, resize=36), PIXELS, list(model.head.names))
    return out


def write_small_run(out: Path) -> Path:
    """Write a run folder with two classes and an empty split."""
    return write_untrained(out, Recognizer(tiny_visual(), MeanPool(), FrozenHead(noise(2, SPEC.dim), names=["a", "b"])))


def write_clip_folder(folder: Path, end: int = 2, act: str = "quick_gelu") -> Path:
    """Write a small random CLIP model (3 layers, 32-pixel images) in the format of transformers.

    Args:
        end: ID of the end token.
        act: activation of both towers.
    """
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizerFast

    # Byte-pair encoding without merges: each letter is a token.
    letters = [chr(code) for code in range(33, 127)]
    vocabulary = ["<|startoftext|>", "<pad>", *letters, *(f"{letter}</w>" for letter in letters), "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    made = CLIPTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"), pad_token="<pad>")
    made.save_pretrained(folder)
    both = {"hidden_act": act, "num_attention_heads": 2, "hidden_size": 32, "intermediate_size": 96}
    text = {**both, "vocab_size": 600, "num_hidden_layers": 2, "max_position_embeddings": 20}
    tokens = {"bos_token_id": 0, "eos_token_id": end, "pad_token_id": 1}
    seen = {**both, "num_hidden_layers": 3, "image_size": 32, "patch_size": 8}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CLIPModel(CLIPConfig(text_config={**text, **tokens}, vision_config=seen, projection_dim=24)).eval()
        with torch.no_grad():
            model.logit_scale.fill_(3.0)
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    statistics: dict[str, object] = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4], "resample": 2}
    statistics |= {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    statistics |= {"image_processor_type": "CLIPImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(statistics))
    return folder


class Trap:
    """An object that creates a file when it is unpickled, by running a program."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def traps(mark: Path) -> dict[str, Callable[[Path], object]]:
    """Return writers of malicious files by kind of file; a careless reader of such a file creates `mark`."""

    tensors = {"a": torch.zeros(2), "trap": Trap(mark)}
    return {
        "a pickle": lambda path: path.write_bytes(pickle.dumps(Trap(mark))),
        "a torch file": lambda path: torch.save({"state_dict": tensors}, path),
        "an old torch file": lambda path: torch.save(tensors, path, _use_new_zipfile_serialization=False),
    }


def write_timed(path: Path, pictures: Sequence[np.ndarray], times: Sequence[float], rate: int = 25) -> Path:
    """Write an h264 video; `times` says when each picture starts, in seconds, and the last one stays for 1 / `rate`."""
    milliseconds = [round(1000 * seconds) for _, seconds in zip(pictures, times, strict=True)]
    return encode(path, pictures, rate=rate, times=milliseconds, base=Fraction(1, 1000), options=_X264)


def joined_colours(path: Path, colours: Sequence[str], seconds: float = 2.0, rate: int = 10) -> Path:
    """Write a video of several colours in turn, each for `seconds`; no two frames are equal."""
    count = round(seconds * rate)
    stills = [pictures(colour, 1, i)[0] for i, colour in enumerate(colours)]
    frames = [np.roll(still, 2 * i, axis=1) for still in stills for i in range(count)]
    return write_timed(path, frames, [i / rate for i in range(len(frames))], rate)


def colour_model(scale: float = 30.0) -> Recognizer:
    """Return a model that classifies colours: each row is the feature of one colour minus the mean of all."""
    visual = tiny_visual()
    with torch.inference_mode():
        clips = [torch.from_numpy(np.stack(pictures(colour, 6, 9))).permute(0, 3, 1, 2) for colour in COLOURS]
        views = [view_crops(clip, PIXELS)[0] for clip in clips]
        rows = torch.stack([visual(view).mean(0) for view in views])
    center = rows.mean(0)
    head = FrozenHead(rows - center, names=list(COLOURS), scale=scale, center=center)
    return Recognizer(visual, MeanPool(), head).eval()


def colour_encoder() -> Encoder:
    """Return an encoder whose text encoder knows the names of colours alone, as they differ from their mean."""
    visual = tiny_visual()
    with torch.inference_mode():
        clips = [torch.from_numpy(np.stack(pictures(colour, 1, 9))).permute(0, 3, 1, 2) for colour in COLOURS]
        features = torch.cat([visual(clip) for clip in clips])
    rows = dict(zip(COLOURS, features - features.mean(0), strict=True))

    def encode(prompts: list[str]) -> Tensor:
        faint = 1e-3 * noise(SPEC.dim)
        return torch.stack([sum((rows[name] for name in COLOURS if name in each), faint) for each in prompts])

    return Encoder(visual, lambda: TextEncoder(nn.Identity(), list, encode, None), scale=10.0)


def write_album(folder: Path, photos: int) -> None:
    """Write photos of red, green and blue things in turn, named `red-00.png`, and a film of all three colours."""
    colours = ("red", "green", "blue")
    for number in range(photos):
        write_image(folder / f"{colours[number % 3]}-{number:02d}.png", colours[number % 3], seed=number)
    joined_colours(folder / "film.mp4", colours, seconds=4.0)


def write_colour_run(out: Path) -> Path:
    """Write the run folder of a model that classifies colours; its clips have two frames."""
    return write_untrained(out, colour_model())


def side_by_side(left: str, right: str, count: int = 1, seed: int = 0) -> list[np.ndarray]:
    """Return pictures whose left half has one colour and whose right half has another."""
    pairs = zip(pictures(left, count, seed), pictures(right, count, seed), strict=True)
    return [np.concatenate([one[:, :24], other[:, 24:]], axis=1) for one, other in pairs]


def write_several_run(out: Path, thresholds: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Path:
    """Write the run folder of a model that says which of three colours a clip has: one, several or none."""
    model = colour_model(scale=20.0)
    head = MultiLabelHead(model.head, bias=torch.full((3,), -1.0), thresholds=torch.tensor(thresholds))
    return write_untrained(out, model.with_head(head))


def calibrate_run(out: Path, *, temperature: float, threshold: float, **changed: object) -> Path:
    """Calibrate the run in a folder for its own protocol, with `changed` replacing settings."""
    run = load_run(out)
    rows = run.model.head.weight
    assert isinstance(rows, Tensor)
    protocol, digest = {**run.protocol.to_json(), **changed}, rows_digest(rows)
    run.with_calibration(Calibration(temperature, 40, Threshold(0.05, threshold, 19), None, digest, protocol))
    return out


def drawn_scores(items: int, classes: int = 6, heat: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return random scores, and labels sampled from their softmax at temperature `heat`."""
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(items, classes, generator=generator)
    targets = torch.multinomial((scores / heat).softmax(-1), 1, generator=generator)[:, 0]
    return scores, targets


def stored(clip: Path) -> tuple[bytes, list[bytes]]:
    """Return the frame table of a clip in a shard, and the JPEGs that it lists."""
    with tarfile.open(clip.parent) as archive:
        table, data = (archive.extractfile(name).read() for name in (f"{clip.stem}.frames.json", clip.name))  # pyright: ignore
    return table, [data[offset : offset + size] for offset, size, _ in json.loads(table)["frames"]]
