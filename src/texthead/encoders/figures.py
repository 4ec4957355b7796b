"""Published facts on encoders: kind, parameters, input size, zero-shot top-1 and licence, from `figures.csv`.

The table has a row for each architecture of open_clip, and one for each set of weights with a published accuracy or
licence. Parameters (in millions) were counted from the architecture if transformers can build it without a download,
else they are from the source of the accuracy. Licences are from the models' pages on the hub or their repositories, and
empty if neither was available. No accuracy was measured with texthead. A revision is the commit of a hub repository
with the weights in transformers' format, if its main branch lacks them (VideoPrism's are in pull requests, by which
mteb loads them too: mteb/models/model_implementations/videoprism_models.py). `hub` is the repository from which
open_clip loads a tag.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# Sources of the accuracies, by their names in the table.
FIGURE_SOURCES = {
    "metaclip": "https://github.com/facebookresearch/MetaCLIP",
    "mobileclip": "https://github.com/apple/ml-mobileclip",
    "open_clip": "https://github.com/mlfoundations/open_clip/blob/main/docs/openclip_results.csv",
    "pe": "https://github.com/facebookresearch/perception_models",
    "siglip2": "https://github.com/google-research/big_vision/blob/main/big_vision/configs/proj/image_text/README_siglip2.md",
    "videoprism": "https://github.com/google-deepmind/videoprism",
}

# How the columns are read; parameters are in millions.
_READ: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("kind", "figures", "licence"), str),
    **dict.fromkeys(("imagenet", "kinetics"), float),
    "parameters": lambda text: round(float(text) * 1e6),
    "size": int,
}


@dataclass(frozen=True, kw_only=True)
class EncoderFigures:
    """What is published on an encoder; None or "" if unknown.

    Attributes:
        source: as in `load_encoder`.
        weights: where the weights are published.
        kind: image-text, image-text multilingual, video-text, video or image.
        parameters: number of parameters of both towers.
        size: side of the input in pixels.
        imagenet: zero-shot top-1 on ImageNet-1k, in percent.
        kinetics: zero-shot top-1 on Kinetics-400, in percent.
        figures: source of these accuracies, a key of `FIGURE_SOURCES`.
        licence: licence of the weights.
        frames: frames that it takes at once, if its weights are on this machine.
        on_disk: bytes of its weights on this machine; None if they are not here.
        seconds: seconds for 100 files, as measured here.
        problem: why the weights on this machine cannot be loaded.
    """

    source: str
    weights: str
    kind: str = ""
    parameters: int | None = None
    size: int | None = None
    imagenet: float | None = None
    kinetics: float | None = None
    figures: str = ""
    licence: str = ""
    frames: int | None = None
    on_disk: int | None = None
    seconds: float | None = None
    problem: str = ""

    @property
    def download(self) -> int | None:
        """Approximate download in bytes: four per parameter."""
        return None if self.parameters is None else 4 * self.parameters


@cache
def published_figures() -> dict[str, dict[str, str]]:
    """Return the rows of `figures.csv` by source, without empty cells."""
    with Path(__file__).with_name("figures.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["source"]: {key: value for key, value in row.items() if value} for row in rows}


def figures_of(source: str, weights: str = "") -> EncoderFigures:
    """Return the published facts on a source, from the rows of its architecture and its weights."""
    # The tag sets the activation, so both names of an architecture give the same encoder.
    plain = source.replace("-quickgelu/", "/")
    cells = {"kind": "image"} if source.startswith("timm:") else {}
    cells |= {**published_figures().get(plain.partition("/")[0], {}), **published_figures().get(plain, {})}
    values = {key: read(cells[key]) for key, read in _READ.items() if key in cells}
    return EncoderFigures(source=source, weights=weights, **values)
