"""The golden run: random weights from a seed, and what it says of a drawn picture and clip. `python tests/golden/make.py`

It was made once, by the version that is in `made.json`, and has to be read as it is: made again it would prove nothing.
"""

import json
import random
import sys
from pathlib import Path

import av
import numpy as np
import PIL.Image
import torch

from texthead import __version__
from texthead.data.protocol import Pixels
from texthead.encoders.encoder import build_visual
from texthead.encoders.load import spec_of
from texthead.models.heads import FrozenHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import TemporalTransformer
from texthead.prediction.predict import predict
from texthead.recipes import Recipe
from texthead.runs.folder import write_run
from texthead.runs.run import load_run

HERE = Path(__file__).parent
NAMES = ("a dress", "a hat", "shoes")


def pictures(count: int, seed: int) -> list[np.ndarray]:
    """Coarse noise of 90 x 70 pixels; Python's own generator gives the same on any version and machine."""
    rng = random.Random(seed)
    coarse = [np.frombuffer(rng.randbytes(7 * 9 * 3), np.uint8).reshape(7, 9, 3) for _ in range(count)]
    return [picture.repeat(10, 0).repeat(10, 1) for picture in coarse]


def draw(folder: Path) -> list[Path]:
    """A picture and a clip, both without loss."""
    PIL.Image.fromarray(pictures(1, seed=1)[0]).save(folder / "picture.png")
    with av.open(str(folder / "clip.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 90, 70, "bgr0"
        for picture in pictures(9, seed=2):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="bgr0")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return [folder / "picture.png", folder / "clip.mkv"]


def make(out: Path) -> None:
    """The run folder."""
    torch.manual_seed(6)
    spec = spec_of("timm:test_vit")
    visual = build_visual(spec)
    with torch.no_grad():
        # timm's start is so small that all pictures look alike.
        for parameter in visual.parameters():
            parameter.mul_(2).add_(0.05 * torch.randn_like(parameter))
    temporal = TemporalTransformer(spec.dim, 1, 32, heads=2, mlp_ratio=2)
    temporal.reset(torch.Generator().manual_seed(7))
    torch.nn.init.normal_(temporal.project_out.weight, std=0.2, generator=torch.Generator().manual_seed(8))
    rows = torch.randn(3, spec.dim, generator=torch.Generator().manual_seed(9))
    head = FrozenHead(rows, names=NAMES, scale=8.0, prompts=[f"a photo of {name}." for name in NAMES], kind="text")
    recipe = Recipe(name="golden", frames=4, temporal="transformer:layers=1,width=32", template="a photo of {}.")
    pixels = Pixels(spec.size, round(spec.size / spec.crop), spec.interpolation)
    write_run(out, Recognizer(visual, temporal, head).eval(), recipe, pixels, NAMES)


if __name__ == "__main__":
    make(HERE / "run")
    found = predict(load_run(HERE / "run"), draw(Path(sys.argv[1])), top=3)
    scores = {p.path.name: dict(p.top) for p in found}
    made = {"texthead": __version__, "torch": torch.__version__, "date": "2026-11-28", "scores": scores}
    (HERE / "made.json").write_text(json.dumps(made, indent=1) + "\n")
