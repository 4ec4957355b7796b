"""The largest kind of encoder in the paper, and video encoders, load and run on a small machine."""

import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from transformers import VJEPA2Config, VJEPA2Model, VJEPA2VideoProcessor

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


def gigabytes(source: str, frames: int) -> float:
    """Return the peak memory in gigabytes of a new process that scores a clip."""
    command = [sys.executable, "-c", PROGRAM, source, str(frames)]
    answer, peak = subprocess.check_output(command, text=True, timeout=900).splitlines()
    assert answer == "(1, 2) True"
    return float(peak)


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
    with torch.random.fork_rng():
        model = VJEPA2Model(VJEPA2Config(num_hidden_layers=3)).bfloat16()
    model.save_pretrained(tmp_path)
    VJEPA2VideoProcessor().save_pretrained(tmp_path)
    del model
    assert gigabytes(f"hf:{tmp_path}", 64) < 10.9
