"""An encoder of the paper's largest kind loads and runs on a small machine."""

import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

PROGRAM = """
import resource, sys
import torch
import texthead as th

encoder = th.load_encoder(f"openclip:ViT-L-14/{sys.argv[1]}")
head = th.text_head(encoder, ["a cat", "a dog"])
model = th.Recognizer(encoder.visual, th.MeanPool(), head).eval()
clip = torch.randint(0, 256, (1, 8, 3, 224, 224), dtype=torch.uint8)
with torch.inference_mode():
    print(tuple(model(clip).shape), bool(model(clip).isfinite().all()))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
def test_a_clip_through_vit_l_14_within_6_gb(tmp_path: Path) -> None:
    shapes = open_clip.create_model("ViT-L-14", device="meta").state_dict()
    generator = torch.Generator().manual_seed(0)
    tensors = {key: (0.02 * torch.randn(value.shape, generator=generator)).half() for key, value in shapes.items()}
    save_file(tensors, tmp_path / "large.safetensors")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "large.safetensors")]
    answer, gigabytes = subprocess.check_output(command, text=True, timeout=600).splitlines()
    assert answer == "(1, 2) True"
    assert float(gigabytes) < 6
