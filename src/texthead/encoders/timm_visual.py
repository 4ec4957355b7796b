"""timm's image encoders, pretrained without text (Table 3)."""

import math
import warnings
from pathlib import Path
from typing import Any

import torch

from texthead.downloads import check_url, download_errors
from texthead.encoders.encoder import Encoder, VisualEncoder
from texthead.encoders.spec import VisualSpec, square_side
from texthead.encoders.weights import fill, read_tensors
from texthead.errors import EncoderError

# Prefixes of the classifier in timm's checkpoints, which is dropped.
_CLASSIFIERS = ("head.", "fc.", "classifier.", "head_dist.")


FORMS = ("timm:NAME", "timm:NAME/FILE")


def load(rest: str) -> Encoder:
    """Return the encoder NAME with timm's weights, or NAME/FILE with weights from a file.

    Raises:
        EncoderError: the name is unknown, or weights are not available or do not match.
    """
    source = f"timm:{rest}"
    name, _, weights = rest.partition("/")
    with download_errors(source, "go online once, or use a file: timm:NAME/FILE"):
        net = _network(name, pretrained=not weights)
    if weights:
        needed = net.state_dict()
        read = read_tensors(Path(weights))
        fill(net, {k: v for k, v in read.items() if k in needed or not k.startswith(_CLASSIFIERS)}, source)
    visual = VisualEncoder(net, _described(source, name, net))
    return Encoder(visual.eval(), None, scale=30.0)


def spec(rest: str) -> VisualSpec:
    """Return the spec of NAME or NAME/FILE.

    Raises:
        EncoderError: the name is unknown, or the input is not square.
    """
    name = rest.partition("/")[0]
    with torch.device("meta"):
        return _described(f"timm:{rest}", name, _network(name, pretrained=False))


def build(spec: VisualSpec) -> torch.nn.Module:
    """Return the network of a spec, with random weights."""
    return _network(spec.architecture.partition(":")[2], pretrained=False)


def list_models() -> list[tuple[str, str]]:
    """Return (source, location of its weights) of every network with weights in timm."""
    import timm

    published = ((name, timm.get_pretrained_cfg(name)) for name in timm.list_models(pretrained=True))
    return [
        (f"timm:{name}", f"hub: {cfg.hf_hub_id}" if cfg and cfg.hf_hub_id else "timm's releases")
        for name, cfg in published
    ]


def _network(name: str, *, pretrained: bool) -> Any:
    """Return timm's network without its classifier, as Any, since timm has no types for the attributes used here."""
    import timm

    check_architecture(name)
    published = timm.get_pretrained_cfg(name) if pretrained else None
    if published is not None and isinstance(published.url, str) and not published.hf_hub_id:
        check_url(published.url, Path(torch.hub.get_dir()) / "checkpoints")
    return timm.create_model(name, pretrained=pretrained, num_classes=0)


def check_architecture(name: str) -> None:
    """Raise EncoderError if timm lacks the architecture: it would look up other names on a hub or in folders."""
    import timm

    if not timm.is_model(name):
        raise EncoderError(
            f"timm has no architecture {name!r}; `texthead encoders` lists them, a run needs the timm that made it"
        )


def _described(source: str, name: str, net: Any) -> VisualSpec:
    from timm.data.config import resolve_model_data_config

    data = resolve_model_data_config(net)
    size = square_side(source, data["input_size"][1:])
    if (way := data["interpolation"]) not in ("bilinear", "bicubic"):
        raise EncoderError(f"'{source}' resizes by {way!r}, only bilinear and bicubic are supported: choose another")
    if data["crop_mode"] == "border":
        warnings.warn(f"{source}: its authors pad an image to a square; here its center is cut out", stacklevel=2)
    return VisualSpec(
        source=source,
        architecture=f"timm:{name}",
        dim=int(getattr(net, "head_hidden_size", net.num_features)),
        size=size,
        crop=size / math.floor(size / data["crop_pct"]),
        interpolation=way,
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
        activation="as timm builds it",
        squash=data["crop_mode"] == "squash",
        any_size=not net.pretrained_cfg.get("fixed_input_size", False),
    )
