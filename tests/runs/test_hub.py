"""Runs on a hub, with its real client and a local server; encoders that a run may not download."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
from huggingface_hub import ModelCard, constants

from families import save_family
from hub_server import TOKEN, Hub, hub_server
from made import write_image
from messages import prints, refuses
from run_folders import changed, put
from texthead.apps.export.upload import push_to_hub
from texthead.encoders.load import load_encoder
from texthead.errors import EncoderError, RunError
from texthead.models.heads import text_head
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.runs.hub import check_own, display_name, local_run
from texthead.runs.run import load_run


class Done(NamedTuple):
    code: int
    out: str
    err: str


@dataclass
class Client:
    """A user of a hub, with their own cache."""

    hub: Hub
    home: Path

    def __call__(self, *arguments: object, **environment: str) -> Done:
        """Run a command of texthead and return its exit code and output."""
        return self._start("-m", "texthead", *map(str, arguments), **environment)

    def python(self, code: str, *arguments: object, **environment: str) -> Done:
        """Run a program."""
        return self._start("-c", code, *map(str, arguments), **environment)

    def _start(self, *arguments: str, **environment: str) -> Done:
        own = {"HF_ENDPOINT": self.hub.address, "HF_HOME": str(self.home), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        done = subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, **own, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with hub_server() as hub:
        yield Client(hub, tmp_path / "hf")


def requests(hub: Hub) -> list[str]:
    """Return and clear the requests for files and repositories."""
    seen = [each for each in hub.requests if "/me/" in each]
    hub.requests.clear()
    return seen


def shares(out: str) -> dict[str, float]:
    """Return the class probabilities of the only file in a command's JSON."""
    (entry,) = json.loads(out)
    return {each["name"]: each["probability"] for each in entry["top"]}


def assert_is_the_card_of(run: Path, text: str) -> None:
    """Check data, classes, prompts, scores and encoder in a model card."""
    about = ModelCard(text).data
    assert (about.library_name, about.pipeline_tag, about.tags) == ("texthead", "image-classification", ["texthead"])
    scores = json.loads((run / "scores.json").read_text())["methods"][-1]
    (result,) = about.eval_results
    assert result.metric_value == pytest.approx(scores["top1"], abs=0.01)
    assert f"of {scores['items']} (95 % interval {scores['low']:.1f}-{scores['high']:.1f})" in text
    assert "- `blue`: `blue`" in text
    assert f"Encoder `{load_run(run).spec.source}`" in text
    assert "texthead predict hub:me/colours" in text
    assert "pretrained on ImageNet-1k" in text
    assert "licence apache-2.0" in text


@pytest.mark.slow
def test_a_run_goes_to_a_hub_and_comes_back(client, world):
    """Without paths; training items are recognised by their content."""
    picture = sorted(world.images.rglob("*.png"))[0]
    done = client("export", world.run, "--to", "hub:me/colours")
    assert done.code == 0, done.err
    files = client.hub.at("me/colours", "main")[1]
    assert {"recipe.json", "classes.json", "split.json", "model.safetensors", "README.md"} <= set(files)
    assert not [name for name in files if name.startswith("state/") or name == "report.html"]
    folders = [str(world.images.parent).encode(), str(world.run.parent).encode()]
    assert [name for name, data in files.items() if any(folder in data for folder in folders)] == []
    assert_is_the_card_of(world.run, files["README.md"].decode())
    here = client("predict", world.run, picture, "--json")
    there = client("predict", "hub:me/colours", picture, "--json")
    assert there.code == 0, there.err
    requests(client.hub)
    offline = client("predict", "hub:me/colours", picture, "--json", HF_HUB_OFFLINE="1")
    # Later predictions use a cached graph, whose last bits differ.
    for other in (there, offline):
        assert shares(other.out) == pytest.approx(shares(here.out), abs=1e-6)
    assert requests(client.hub) == []
    refused = client("calibrate", "hub:me/colours", world.images)
    assert refused.code == 2
    prints(refused.err, "hub:me/colours", "hf download me/colours")
    code = (
        "import sys, texthead as th; from pathlib import Path\n"
        "run = th.load_run('hub:me/colours')\n"
        "print(len(run.trained_on), [run.was_trained_on(Path(path)) for path in sys.argv[1:]])"
    )
    split = json.loads((world.run / "split.json").read_text())
    done = client.python(code, split["train"][0], split["held_out"][0])
    assert done.out.split(maxsplit=1) == [str(len(split["train"])), "[True, False]\n"]


@pytest.mark.slow
def test_branches_and_revisions(client, world):
    code = (
        "import sys, texthead as th\n"
        "run = th.load_run(sys.argv[1])\n"
        "print(th.push_to_hub(run, 'me/colours', private=True, branch='next'))"
    )
    done = client.python(code, world.run)
    number = client.hub.at("me/colours", "next")[0]
    assert done.out.strip() == f"{client.hub.address}/me/colours/commit/{number}"
    assert client.hub.private == {"me/colours": True}
    listed = client("classes", f"hub:me/colours@{number}", "list")
    assert listed.code == 0, listed.err
    assert listed.out == client("classes", "hub:me/colours@next", "list").out
    assert "blue" in listed.out
    empty = client("classes", "hub:me/colours", "list")
    assert empty.code == 2
    prints(empty.err, "hub:me/colours", "recipe.json")


@pytest.mark.slow
def test_a_hub_that_refuses_is_one_line(client, world, tmp_path):
    picture = write_image(tmp_path / "a.png", "red")
    for name in ("me/none", "me/none@v1"):
        done = client("predict", f"hub:{name}", picture)
        assert done.code == 2
        prints(done.err, f"hub:{name}", "RepositoryNotFoundError")
    done = client("export", world.run, "--to", "hub:me/colours", HF_TOKEN="hf_wrong")
    assert done.code == 2
    prints(done.err, "hub:me/colours", "401")
    for words in (("predict", "hub:me/none", picture), ("export", world.run, "--to", "hub:me/none")):
        done = client(*words, HF_ENDPOINT="http://127.0.0.1:9")
        assert done.code == 2
        assert len(done.err.strip().splitlines()) == 1
    for options in (["--out", tmp_path / "out"], ["--classes", "a, b"]):
        done = client("export", world.run, "--to", "hub:me/colours", *options)
        assert done.code == 2
        prints(done.err, options[0])


def test_names_of_runs():
    with refuses(RunError, "colours"):
        local_run("hub:colours")
    assert local_run("hub") == Path("hub")
    cached = Path("/home/me/.cache/huggingface/hub/models--me--colours/snapshots/0123456789abcdef")
    assert display_name(cached) == "hub:me/colours"
    with refuses(RunError, "me/colours"):
        check_own(cached)
    assert display_name(Path("runs/a")) == "runs/a"
    check_own(Path("runs/a"))


def test_a_run_with_other_classes_is_not_uploaded(world):
    run = load_run(world.run).with_classes(["a kite", "a bird"])
    with refuses(RunError, "save_classes"):
        push_to_hub(run, "me/kites")
    with refuses(RunError, "a/b/c"):
        push_to_hub(run, "a/b/c")


# ---- encoders that a run names


@pytest.fixture
def strange(client: Client, tmp_path: Path) -> Path:
    """An untrusted run whose encoder `hf:me/clip` is on the hub."""
    save_family(tmp_path / "clip", "clip")
    client.hub.add_folder("me/clip", tmp_path / "clip")
    encoder = load_encoder(f"hf:{tmp_path / 'clip'}")
    head = text_head(encoder, ["a cat", "a dog"])
    run = put(tmp_path / "run", Recognizer(encoder.visual, MeanPool(), head))
    changed(run, "recipe.json", lambda about: about["encoder"].update(source="hf:me/clip"))
    return run


@pytest.mark.slow
def test_hub_run_asks_before_download(client, strange, tmp_path):
    picture = write_image(tmp_path / "a.png", "red")
    named = ("predict", strange, picture, "--classes", "a kite, a bird", "--json")
    assert client("predict", strange, picture).code == 0
    own = {"TEXTHEAD_CACHE": str(tmp_path / "cache")}  # The user's may hold the same texts.
    done = client(*named, **own)
    assert done.code == 2
    prints(done.err, "hf:me/clip", f"{client.hub.address}/me/clip", "th.load_run(RUN, allow_download=True)")
    assert requests(client.hub) == []


@pytest.mark.slow
def test_a_text_encoder_and_a_mix_ask_too(client, strange, tmp_path):
    code = (
        "import sys, texthead as th\nfrom texthead.runs.mixture import mixed\n"
        "for ask in (lambda run: run.encoder().encode_text(['a kite']), lambda run: mixed(run, 0.5)):\n"
        "    try:\n        ask(th.load_run(sys.argv[1]))\n"
        "    except th.TextheadError as error:\n        print('allow_download' in str(error))"
    )
    assert client.python(code, strange).out.split() == ["True", "True"]
    assert requests(client.hub) == []


OPENCLIP = ("openclip:ViT-B-32/openai", "openclip:hf-hub:me/clip")


@pytest.mark.parametrize("source", [*OPENCLIP, "timm:resnet18", "timm:gcvit_base.in1k", "hf:me/clip", "hf:me/clip@v1"])
def test_missing_encoders_named_with_location(source, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with refuses(EncoderError, source, "allow_download"):
        load_encoder(source, allow_download=False)
    with refuses(EncoderError, "text:me/words", "allow_download"):
        load_encoder("mini", text="text:me/words", allow_download=False)
    assert not constants.HF_HUB_OFFLINE


def test_a_missing_file_is_no_download(tmp_path):
    with refuses(EncoderError, "none.pt"):
        load_encoder(f"openclip:ViT-B-32/{tmp_path}/none.pt", allow_download=False)
    assert load_encoder("mini", allow_download=False).encode_text(["a kite"]).shape == (1, 1280)


@pytest.mark.slow
def test_a_crafted_description_of_an_encoder_downloads_nothing(client, strange, tmp_path):
    """transformers would fetch the backbone that a configuration names."""
    config = {"model_type": "detr", "use_timm_backbone": True, "backbone": "resnet50", "use_pretrained_backbone": True}
    changed(strange, "recipe.json", lambda about: about["encoder"].update(config=config))
    done = client("predict", strange, write_image(tmp_path / "a.png", "red"))
    assert done.code == 2
    assert [each for each in client.hub.requests if "resolve" in each or "/api/models" in each] == []
