"""Reading any media or weights returns a value or raises one of our own errors, quickly and with little memory.

`make fuzz` runs each target EXECUTIONS times and prints how many it ran; the default suite runs a few.
"""

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import save_file

from made import pictures, sound, write_image, write_video
from media_files import box, heic
from texthead.encoders.weights import read_checkpoint, read_tensors
from texthead.errors import TextheadError
from texthead.extras import is_installed
from texthead.media.paths import MediaPath
from texthead.runs.folder import load_weights

EXECUTIONS = int(os.environ.get("FUZZ_EXECUTIONS", "8000"))
SECONDS = 60.0


def survives(call: Callable[[], object]) -> bool:
    """Return whether a call succeeds; any error must be one of ours and one line long."""
    started, message = time.perf_counter(), ""
    try:
        call()
    except TextheadError as error:
        message = str(error)
    assert "\n" not in message
    assert time.perf_counter() - started < SECONDS
    return not message


NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Replace a few bytes in one to eight places by random ones, numbers at their limits, nothing, or repeats."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 8])):
        # Half of all changes go to the headers, which are in front or, in some containers, at the end.
        near = rng.randrange(min(len(out), rng.choice([len(out), len(out), 256, 1024])) or 1)
        at = near if rng.random() < 0.75 else max(0, len(out) - 1 - near)
        size = rng.choice([1, 2, 4, 8])
        number = (rng.choice(NUMBERS) % 256**size).to_bytes(size, rng.choice(["little", "big"]))
        repeated = out[at : at + rng.choice([1, 4, 64])] * rng.choice([1, 2, 50])
        new = rng.choice([rng.randbytes(size), number, number, repeated, b""])
        out[at : at + rng.choice([size, size, 0, 64, len(out)])] = new
    return bytes(out)


def read_media(path: Path) -> None:
    """Read a few frames of a file, as for a clip."""
    with MediaPath(path).open() as media:
        media.frames_at(sorted({0, media.num_frames // 2, media.num_frames - 1}))


def read_reduced(path: Path) -> None:
    """Read a picture at a reduced size, as for a view."""
    with MediaPath(path).open() as media:
        media.min_short_side = 16
        media.frames_at([0])


def media_corpus(folder: Path) -> Iterator[tuple[Path, Callable[[Path], object]]]:
    for suffix in (".mp4", ".mkv", ".avi", ".ts", ".mpg", ".flv"):
        codec = {".avi": "mpeg4", ".mpg": "mpeg2video"}.get(suffix, "libx264")
        yield write_video(folder / f"a{suffix}", "red", codec=codec), read_media
    for suffix in (".png", ".jpg", ".bmp", ".tif", ".webp", ".gif", ".avif"):
        yield write_image(folder / f"b{suffix}", "blue"), read_media
    if is_installed("pi_heif"):
        yield heic(folder / "b.heic", pictures("blue", 1, 0)[0], box(b"irot", b"\1")), read_media
    yield sound(folder / "c.mp4"), read_media
    photo = PIL.Image.fromarray(np.kron(pictures("blue", 1, 0)[0], np.ones((2, 2, 1), np.uint8)))
    for mode in ("RGB", "L", "CMYK"):
        photo.convert(mode).save(folder / f"{mode}.jpg", progressive=mode == "L")
        yield folder / f"{mode}.jpg", read_reduced


def weights_corpus(folder: Path) -> Iterator[tuple[Path, Callable[[Path], object]]]:
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    save_file(net.state_dict(), folder / "a.safetensors")
    yield folder / "a.safetensors", read_tensors
    yield folder / "a.safetensors", lambda path: load_weights(path, net)
    torch.save({"state_dict": net.state_dict(), "epoch": 3}, folder / "a.pt")
    yield folder / "a.pt", read_tensors
    torch.save(net.state_dict(), folder / "b.pt", _use_new_zipfile_serialization=False)
    yield folder / "b.pt", read_checkpoint


# Each with its multiple of EXECUTIONS and its number in the default suite.
CORPORA = {"media": (media_corpus, 7, 80), "weights": (weights_corpus, 5, 80)}


@pytest.mark.parametrize("path", sorted(Path(__file__).with_name("found").iterdir()), ids=lambda path: path.name)
def test_what_fuzzing_has_found(path: Path) -> None:
    assert not survives(lambda: read_media(path))


@pytest.mark.parametrize("many", [False, pytest.param(True, marks=[pytest.mark.slow, pytest.mark.fuzz])])
@pytest.mark.parametrize("name", CORPORA)
def test_changed_files(name: str, many: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files that fail are copied to FUZZ_KEEP."""
    seed = int(os.environ.get("FUZZ_SEED", "1")) if many else 0
    write, share, few = CORPORA[name]
    count = int(EXECUTIONS * share) if many else few
    read_whole, done, wrong = 0, 0, []
    corpus = list(write(tmp_path))
    for number, (path, read) in enumerate(corpus):
        call, whole, rng = partial(read, path), path.read_bytes(), random.Random(f"{seed} {name} {number}")
        assert survives(call) == (path.name != "c.mp4"), "all but the file of sound can be read as they are"
        for _ in range(-(-count // len(corpus))):
            path.write_bytes(mutated(whole, rng))
            done += 1
            try:
                read_whole += survives(call)
            except Exception as error:
                copy = Path(os.environ.get("FUZZ_KEEP", tmp_path)) / f"found-{name}-{done}{path.suffix}"
                shutil.copy(path, copy)
                wrong.append(f"{copy}: {type(error).__name__}: {str(error)[:200]}")
        path.write_bytes(whole)
    assert not wrong, "\n".join([f"{len(wrong)} of {done}", *wrong[:20]])
    assert 0 < read_whole < done
    with capsys.disabled():
        if many:
            print(f"{name}: {done} executions of seed {seed}, {read_whole} read, {done - read_whole} refused")
