"""Encoders on this machine, in caches that their own libraries wrote, and the choice among them."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from transformers import (
    BertConfig,
    BertModel,
    CLIPImageProcessor,
    VideoMAEConfig,
    VideoMAEImageProcessor,
    VideoMAEModel,
    ViTConfig,
    ViTModel,
)

import texthead as th
from installed import Install
from made import traps
from messages import prints, refuses
from texthead.encoders.here import keep_speed
from texthead.encoders.load import SHORT_NAMES
from texthead.errors import EncoderError

VIT = ViTConfig(
    hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96, image_size=32, patch_size=8
)
SHAPES = ("one square", "two squares", "three squares", "four squares")


def picture(count: int, seed: int) -> np.ndarray:
    """Draw squares on noise; how many there are is hard to tell for an encoder that was not trained to count."""
    chance = np.random.default_rng(seed)
    image = chance.integers(0, 160, (32, 32, 3), np.uint8)
    for cell in chance.permutation(16)[:count]:
        top, left = 8 * (cell // 4) + 2, 8 * (cell % 4) + 2
        image[top : top + 4, left : left + 4] = chance.integers(190, 256, 3)
    return image


class Hub:
    """The hub client's cache in a folder, to which models are added in their libraries' formats."""

    def __init__(self, folder: Path):
        self.folder = folder

    def snapshot(self, name: str) -> Path:
        """Return the folder of a new repository's files."""
        repository = self.folder / f"models--{name.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("5eed")
        (repository / "snapshots" / "5eed").mkdir(parents=True)
        return repository / "snapshots" / "5eed"

    def vit(self, name: str, seed: int, steps: int = 0) -> str:
        """Add an image encoder, trained to count squares if there are steps."""
        torch.manual_seed(seed)
        model, head = ViTModel(VIT), torch.nn.Linear(48, len(SHAPES))
        optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], 2e-3)
        for step in range(steps):
            targets = torch.arange(64) % len(SHAPES)
            batch = np.stack([picture(1 + int(each), 10**6 + 64 * step + i) for i, each in enumerate(targets)])
            pixels = torch.from_numpy(batch).permute(0, 3, 1, 2) / 127.5 - 1
            loss = F.cross_entropy(head(model(pixels).pooler_output), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        folder = self.snapshot(name)
        model.save_pretrained(folder)
        half = [0.5] * 3
        size = {"size": {"shortest_edge": 32}, "crop_size": 32, "image_mean": half, "image_std": half}
        CLIPImageProcessor(**size).save_pretrained(folder)
        return f"hf:{name}"

    def clip(self, name: str, seed: int) -> str:
        """Add an image and text encoder of open_clip with random weights."""
        vision = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16}
        text = {"context_length": 16, "width": 64, "heads": 2, "layers": 2, "vocab_size": 49408}
        torch.manual_seed(seed)
        model = open_clip.CLIP(24, vision, text)  # pyright: ignore[reportArgumentType]
        folder = self.snapshot(name)
        save_file(
            {key: value.contiguous() for key, value in model.state_dict().items()},
            folder / "open_clip_model.safetensors",
        )
        config = {"model_cfg": {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        return f"openclip:hf-hub:{name}"


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Hub:
    for name, folder in (
        ("HF_HUB_CACHE", "hub"),
        ("TEXTHEAD_CACHE", "cache"),
        ("HOME", "home"),
        ("TORCH_HOME", "torch"),
    ):
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return Hub(tmp_path / "hub")


@pytest.fixture(scope="session")
def counted(tmp_path_factory) -> Path:
    """A folder of drawn pictures by class."""
    folder = tmp_path_factory.mktemp("counted")
    for count, name in enumerate(SHAPES, 1):
        (folder / name).mkdir()
        for number in range(150):
            Image.fromarray(picture(count, 1000 * count + number)).save(folder / name / f"{number}.png")
    return folder


def test_each_cache_is_listed_with_what_is_known_of_its_models(hub, tmp_path):
    hub.clip("me/clip", 0)
    hub.vit("me/vit", 0)
    (hub.folder / "models--me--vit" / "snapshots" / "5eed" / "README.md").write_text("---\nlicense: mit\n---\n")
    folder = hub.snapshot("me/mae")
    small = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "image_size": 32,
    }
    VideoMAEModel(VideoMAEConfig(patch_size=16, num_frames=4, **small)).save_pretrained(folder)
    VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    save_file(timm.create_model("test_vit").state_dict(), hub.snapshot("timm/test_vit.r160_in1k") / "model.safetensors")
    save_file({"a": torch.zeros(2)}, hub.snapshot("timm/ViT-B-16-SigLIP2") / "open_clip_model.safetensors")
    words = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertModel(words).save_pretrained(hub.snapshot("me/words"))
    keep_speed("hf:me/vit", 1.5)
    rows = {row.source: row for row in th.encoders_here()}
    siglip = SHORT_NAMES["siglip2"]
    assert [*rows] == [
        siglip,
        "hf:me/mae",
        "hf:me/vit",
        "mini",
        "mini:lite1",
        "mini:lite2",
        "openclip:hf-hub:me/clip",
        "timm:test_vit.r160_in1k",
    ]
    seen = {source: (row.kind, row.frames, row.size) for source, row in rows.items()}
    assert seen["hf:me/mae"] == ("video", 4, 32)
    assert seen["openclip:hf-hub:me/clip"] == ("image-text", 1, 32)
    assert (rows["hf:me/vit"].licence, rows["hf:me/vit"].seconds, rows["mini"].seconds) == ("mit", 1.5, None)
    assert not any(row.problem for row in rows.values())
    assert rows[siglip].imagenet == 78.2
    assert rows["hf:me/vit"].on_disk == sum(
        file.stat().st_size for file in hub.folder.glob("models--me--vit/*/*/*.safetensors")
    )
    for source in [*rows][1:]:
        assert th.load_encoder(source, allow_download=False).source == source


def test_what_cannot_be_loaded_has_its_reason(hub, tmp_path, monkeypatch):
    whole, half = hub.clip("me/whole", 0), hub.snapshot("me/half")
    hub.clip("me/cut", 0)
    weights = hub.folder / "models--me--cut" / "snapshots" / "5eed" / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    (half / "config.json").write_text(json.dumps({"image_size": 32, "model_type": "vit"}))
    (half.parents[1] / "blobs").mkdir()
    (half.parents[1] / "blobs" / "1.incomplete").write_bytes(b"0")
    hub.vit("me/bare", 0)
    (hub.folder / "models--me--bare" / "snapshots" / "5eed" / "preprocessor_config.json").unlink()
    clip = tmp_path / "home" / ".cache" / "clip"
    clip.mkdir(parents=True)
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), clip / "ViT-B-32.pt")
    torch.save({"a": torch.zeros(2)}, clip / "plain.pt")
    mark = tmp_path / "ran"
    for name, write in traps(mark).items():
        write(clip / f"{name}.pt")
    immich = tmp_path / "immich"
    (immich / "clip" / "ViT-B-32__openai" / "visual").mkdir(parents=True)
    monkeypatch.setenv("MACHINE_LEARNING_CACHE_FOLDER", str(immich))
    problems = {Path(row.source).name: row.problem for row in th.encoders_here() if row.problem}
    assert "damaged" in problems["cut"]
    assert "half of a download" in problems["half"]
    assert "preprocessor_config.json is missing" in problems["bare"]
    assert "openclip:ARCH/FILE" in problems["plain.pt"]
    assert "openclip:ViT-B-32/openai" in problems["ViT-B-32__openai"]
    assert all("holds code" in problems[f"{name}.pt"] for name in ("ViT-B-32", *traps(mark)))
    assert whole in [row.source for row in th.encoders_here() if not row.problem]
    assert not mark.exists()


TWIN = """
import time
import torch
from texthead.encoders.load import load_encoder, spec_of

def list_models():
    return [("twin:slow", "package twins")]

def spec(rest):
    import dataclasses
    return dataclasses.replace(spec_of("hf:me/trained"), source="twin:slow", architecture="twin")

class Slow(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = load_encoder("hf:me/trained").visual.net

    def forward(self, pixels):
        time.sleep(0.02 * len(pixels))
        return self.inner(pixels)

def build(spec):
    return Slow()

def load(rest):
    from texthead import Encoder, VisualEncoder
    return Encoder(VisualEncoder(Slow(), spec(rest)), None, scale=10.0)
"""


@pytest.mark.slow
def test_the_better_encoder_is_chosen_in_each_draw_and_of_equals_the_cheaper(hub, counted, install: Install):
    best = hub.vit("me/trained", 0, steps=400)
    others = [hub.vit("me/random", 1), hub.clip("me/clip", 2)]
    install("twins", "texthead.encoders", "twin = twins", TWIN)
    sources = [*others, best, "twin:slow"]
    assert {*sources} <= {row.source for row in th.encoders_here()}
    leads = []
    for seed in range(20):
        choice = th.choose_encoder(counted, sources, budget=60.0, k=100, seed=seed)
        assert choice.encoder == best, (seed, choice)
        rates = {each.source: each.evaluation.rate[0] for each in choice.scores if each.evaluation}
        leads.append(rates[best] - max(rates.get(other, 0) for other in others))
    assert min(leads) >= 5


@pytest.mark.slow
def test_the_budget_is_kept_and_who_is_too_slow_has_a_line(hub, counted, install: Install):
    hub.vit("me/trained", 0)
    slow = TWIN.replace("0.02", "2.0")
    install("twins", "texthead.encoders", "twin = twins", slow)
    start = time.monotonic()
    choice = th.choose_encoder(counted, ["hf:me/trained", "twin:slow"], budget=20.0, k=20)
    assert choice.encoder == "hf:me/trained"
    assert time.monotonic() - start <= 22
    prints(choice.scores[-1].problem, "20 files would take", "its share")
    with refuses(EncoderError, "no encoder can be scored", "twin:slow"):
        th.choose_encoder(counted, ["twin:slow"], budget=10.0, k=20)


def test_a_command_takes_the_best_here_and_hints_at_it_once(hub, works, tmp_path):
    counted = tmp_path / "data"
    for count, name in enumerate(SHAPES[:2], 1):
        (counted / name).mkdir(parents=True)
        for number in range(8):
            Image.fromarray(picture(count, 1000 * count + number)).save(counted / name / f"{number}.png")
    _, err = works("compare", counted, "--k", 4)
    assert "on this machine" not in err
    save_file({"a": torch.zeros(2)}, hub.snapshot("timm/ViT-B-16-SigLIP2") / "open_clip_model.safetensors")
    out, err = works("compare", counted, "--k", 4)
    prints(err, SHORT_NAMES["siglip2"], "on this machine", "--encoder here")
    assert "on this machine" not in works("compare", counted, "--k", 4)[1]
    shutil.rmtree(hub.folder)
    hub.vit("me/vit", 0)
    out, err = works("train", counted, "--k", 4, "--encoder", "here", "--out", tmp_path / "run")
    prints(err, "comparing 4 encoders", "at most 3 minutes")
    prints(out, "chosen in")
    assert "hf:me/vit" in out
