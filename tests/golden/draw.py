"""What the golden run is asked: a drawn picture and clip, the same on any machine.

The run itself was made once, by the version that is in `made.json`, and has to be read as it is; git holds the program.
"""

import random
from pathlib import Path

import av
import numpy as np
import PIL.Image


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
