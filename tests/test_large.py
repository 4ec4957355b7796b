"""The largest kind of encoder in the paper, and video encoders, load and run on a small machine."""

import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from transformers import VJEPA2Config, VJEPA2Model, VJEPA2VideoProcessor

from made import write_video

PROGRAM = """
import resource, sys
import torch
import texthead as th

encoder, frames = th.load_encoder(sys.argv[1]), int(sys.argv[2])
names = ["a cat", "a dog"]
head = th.text_head(encoder, names) if encoder.has_text else th.LinearHead(encoder.dim, names=names)
model = th.Recognizer(encoder.visual, th.MeanPool(), head).eval()
size = encoder.visual.spec.size
clip = torch.randint(0, 256, (1, frames, 3, size, size), dtype=torch.uint8)
with torch.inference_mode():
    scores = model(clip)
print(tuple(scores.shape), bool(scores.isfinite().all()))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""

PROBE = """
import resource, sys
import torch
import texthead as th

source, table, out = sys.argv[1:]
data, visual = th.read_dataset(table), th.load_encoder(source).visual.with_grid((8, 4, 4))
head = th.LinearHead(visual.spec.dim, names=data.classes)
model = th.Recognizer(visual, th.AttentivePool(visual.spec.dim, 256), head)
recipe = th.recipes.small(
    temporal="attentive:width=256", tune="none", frames=64, size=256, test_size=None, epochs=2
)
records = th.fine_tune(model, data, None, recipe, out=f"{out}/run", reading=th.ReadOptions(cache=out))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def gigabytes(source: str, frames: int) -> float:
    """Return the peak memory in gigabytes of a new process that scores a clip."""
    command = [sys.executable, "-c", PROGRAM, source, str(frames)]
    answer, peak = subprocess.check_output(command, text=True, timeout=900).splitlines()
    assert answer == "(1, 2) True"
    return float(peak)


def write_v_jepa_2(folder: Path, layers: int) -> str:
    """Write V-JEPA 2 L with fewer than its 24 layers and random weights, and return its source."""
    with torch.random.fork_rng():
        VJEPA2Model(VJEPA2Config(num_hidden_layers=layers)).bfloat16().save_pretrained(folder)
    VJEPA2VideoProcessor().save_pretrained(folder)
    return f"hf:{folder}"


@pytest.mark.slow
def test_a_clip_through_vit_l_14_within_6_gb(tmp_path: Path) -> None:
    shapes = open_clip.create_model("ViT-L-14", device="meta").state_dict()
    generator = torch.Generator().manual_seed(0)
    tensors = {key: (0.02 * torch.randn(value.shape, generator=generator)).half() for key, value in shapes.items()}
    save_file(tensors, tmp_path / "large.safetensors")
    assert gigabytes(f"openclip:ViT-L-14-gelu/{tmp_path / 'large.safetensors'}", 8) < 6


@pytest.mark.slow
def test_a_clip_through_v_jepa_2_l_within_12_gb(tmp_path: Path) -> None:
    """Three of its 24 layers, and 1.1 GB off the bound: the other layers would add 1.05 GB of weights."""
    assert gigabytes(write_v_jepa_2(tmp_path, 3), 64) < 10.9


@pytest.mark.nightly("src/texthead/features/clips.py", "src/texthead/encoders/transformers_model.py")
def test_a_probe_on_grids_of_v_jepa_2_l_within_12_gb(tmp_path: Path) -> None:
    """One of its 24 layers, and 1.2 GB off the bound: the other layers would add 1.15 GB of weights."""
    videos = [write_video(tmp_path / f"{colour}.mp4", colour, 130) for colour in ("red", "blue")]
    (tmp_path / "clips.csv").write_text("path,label\n" + "".join(f"{path},{path.stem}\n" for path in videos))
    arguments = [write_v_jepa_2(tmp_path / "encoder", 1), tmp_path / "clips.csv", tmp_path / "out"]
    assert float(subprocess.check_output([sys.executable, "-c", PROBE, *arguments], text=True, timeout=900)) < 10.8
