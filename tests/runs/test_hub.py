"""Runs on a hub, with a folder in place of its client; encoders that a run may not download."""

import hashlib
import json
import shutil
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from families import save_family
from made import write_image
from messages import prints, refuses
from run_folders import changed, put
from texthead import downloads
from texthead.apps.classes.class_edits import rename_class
from texthead.apps.export.upload import push_to_hub, write_public
from texthead.encoders.load import load_encoder
from texthead.errors import EncoderError, RunError
from texthead.evaluation.calibration import Calibration, Threshold
from texthead.models.heads import text_head
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.prediction.load import load_run
from texthead.runs import rows_digest
from texthead.text.class_tree import ClassTree


class Hub:
    """The hub's client: branches are folders as in its cache, and what it was asked for is kept."""

    def __init__(self, folder: Path):
        self.folder, self.asked = folder, dict[str, object]()

    def branch(self, name: str, revision: str | None) -> Path:
        number = hashlib.sha1(f"{name} {revision}".encode()).hexdigest()
        folder = self.folder / f"models--{name.replace('/', '--')}" / "snapshots" / number
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def create_repo(self, repo_id: str, **options: object) -> SimpleNamespace:
        self.asked |= options
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, *, repo_id: str, folder_path: Path, **options: object) -> object:
        self.asked |= options
        shutil.copytree(folder_path, self.branch(repo_id, None), dirs_exist_ok=True)
        return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/main")

    def download(self, name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert {"recipe.json", "model.safetensors", "encoder/*"} <= {*allow_patterns}
        return str(self.branch(name, revision))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub(tmp_path / "hub")
    monkeypatch.setattr("texthead.apps.export.upload.HfApi", lambda: hub)
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub.download)
    monkeypatch.setattr(downloads, "_problem", lambda _: "")
    return hub


def test_a_run_goes_to_a_hub_and_comes_back(hub: Hub, world, works, refused) -> None:
    """Without paths; training items are recognised by their content."""
    picture = sorted(world.images.rglob("*.png"))[0]
    works("export", world.run, "--to", "hub:me/colours", "--private")
    assert (hub.asked["private"], hub.asked["exist_ok"]) == (True, True)
    files = {path.name: path.read_bytes() for path in hub.branch("me/colours", None).iterdir()}
    assert {"recipe.json", "classes.json", "split.json", "model.safetensors", "README.md"} <= set(files)
    assert not {"state", "report.html"} & set(files)
    folders = [str(world.images.parent).encode(), str(world.run.parent).encode()]
    assert [name for name, data in files.items() if any(folder in data for folder in folders)] == []
    prints(files["README.md"].decode(), "texthead predict hub:me/colours")
    here, there = (json.loads(works("predict", run, picture, "--json")[0]) for run in (world.run, "hub:me/colours"))
    # Later predictions use a cached graph, whose last bits differ.
    for ours, theirs in zip(here[0]["top"], there[0]["top"], strict=True):
        assert theirs == {**ours, "probability": pytest.approx(ours["probability"], abs=1e-6)}
    refused(("hub:me/colours", "hf download me/colours"), "calibrate", "hub:me/colours", world.images)
    run, split = load_run("hub:me/colours"), json.loads((world.run / "split.json").read_text())
    assert len(run.split.trained_on) == len(split["train"])
    assert [run.split.was_trained_on(Path(split[part][0])) for part in ("train", "held_out")] == [True, False]


def test_the_card_promises_what_still_holds(world, tmp_path: Path) -> None:
    run = load_run(world.run)
    rows, protocol = rows_digest(run.head.weight), run.protocol.to_json()
    source = f"{world.images} (test)"
    valid = Calibration(2.0, 40, Threshold(0.05, 0.5, 30), source=source, classes=rows, protocol=protocol)
    for each, rejects in ((valid, True), (replace(valid, classes="others"), False)):
        write_public(replace(run, calibration=each), tmp_path, "me/x")
        card = (tmp_path / "README.md").read_text()
        assert ("none of these" in card, f"{world.images.name} (test)" in card, source in card) == (
            rejects,
            True,
            False,
        )


def test_labels_that_look_like_paths_stay(world, tmp_path: Path) -> None:
    """Such as those of Open Images, /m/01yrx."""
    run = load_run(world.run)
    renamed = rename_class(run, run.labels[0], "/m/01yrx").with_tree(ClassTree({"/m/01yrx": ("/m/0jbk",)}))
    renamed.save(tmp_path / "run")
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    recipe["recipe"]["template"] = "/m/{}"
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(recipe))
    (tmp_path / "public").mkdir()
    write_public(load_run(tmp_path / "run"), tmp_path / "public", "me/x")
    run, public = load_run(tmp_path / "run"), load_run(tmp_path / "public")
    assert (public.labels, public.tree, public.recipe) == (run.labels, run.tree, run.recipe)
    assert {*public.split.lists["train_labels"]} == {*public.labels}
    assert str(world.run.parent) not in (tmp_path / "public" / "classes.json").read_text()


def test_a_revision_is_the_one_that_is_named(hub: Hub, world, works, refused) -> None:
    assert push_to_hub(load_run(world.run), "me/colours") == "https://hub/me/colours/commit/main"
    hub.branch("me/colours", "next").rmdir()
    hub.branch("me/colours", None).rename(hub.branch("me/colours", "next"))
    assert "blue" in works("classes", "hub:me/colours@next", "list")[0]
    refused(("hub:me/colours", "recipe.json"), "classes", "hub:me/colours", "list")


def test_a_hub_that_refuses_is_one_line(hub: Hub, world, refused, tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("401 Client Error\n\nInvalid token\nand more")

    for options in (("--out", tmp_path / "out"), ("--classes", "a, b")):
        refused(options[0], "export", world.run, "--to", "hub:me/colours", *options)
    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    monkeypatch.setattr(hub, "create_repo", refuse)
    for words in (("predict", "hub:me/none@v1", world.images), ("export", world.run, "--to", "hub:me/none")):
        refused(("hub:me/none", "the hub refused", "401 Client Error Invalid token and more)"), *words)


def test_a_run_with_other_classes_is_not_uploaded(world):
    run = load_run(world.run).with_classes(["a kite", "a bird"])
    with refuses(RunError, "`save`"):
        push_to_hub(run, "me/kites")
    with refuses(RunError, world.run, "`save`"):
        push_to_hub(replace(load_run(world.run), mix=0.5), "me/half")
    with refuses(RunError, "a/b/c"):
        push_to_hub(run, "a/b/c")


@pytest.fixture
def strange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An untrained run whose encoder `hf:me/clip` is on the hub, not here."""
    save_family(tmp_path / "clip", "clip")
    encoder = load_encoder(f"hf:{tmp_path / 'clip'}")
    head = text_head(encoder, ["a cat", "a dog"])
    run = put(tmp_path / "run", Recognizer(encoder.visual, MeanPool(), head))
    changed(run, "recipe.json", lambda about: about["encoder"].update(source="hf:me/clip"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TEXTHEAD_CACHE", str(tmp_path / "cache"))  # The user's may hold the same texts.
    return run


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The hosts that were looked up; none is found."""
    hosts: list[object] = []

    def look_up(host: object, *_: object, **__: object) -> None:
        hosts.append(host)
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return hosts


def test_a_run_asks_before_its_encoder_is_downloaded(strange, looked_up, works, refused, tmp_path):
    picture = write_image(tmp_path / "a.png", "red")
    works("predict", strange, picture)
    parts = ("hf:me/clip", "th.load_run(RUN, allow_download=True)")
    refused(parts, "predict", strange, picture, "--classes", "a kite, a bird")
    for ask in (lambda: load_run(strange).encoder().encode_text(["a kite"]), lambda: load_run(strange).mixed(0.5)):
        with refuses(EncoderError, "allow_download"):
            ask()
    assert looked_up == []


OPENCLIP = ("openclip:ViT-B-32/openai", "openclip:hf-hub:me/clip")


@pytest.mark.parametrize("source", [*OPENCLIP, "timm:resnet18", "timm:gcvit_base.in1k", "hf:me/clip", "hf:me/clip@v1"])
def test_missing_encoders_are_named(source, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with refuses(EncoderError, source, "allow_download"):
        load_encoder(source, allow_download=False)
    with refuses(EncoderError, "text:me/words", "allow_download"):
        load_encoder("mini", text="text:me/words", allow_download=False)
    assert not constants.HF_HUB_OFFLINE


def test_a_crafted_description_of_an_encoder_downloads_nothing(strange, looked_up, refused, tmp_path):
    """transformers would fetch the backbone that a configuration names."""
    config = {"model_type": "detr", "use_timm_backbone": True, "backbone": "resnet50", "use_pretrained_backbone": True}
    changed(strange, "recipe.json", lambda about: about["encoder"].update(config=config))
    refused("", "predict", strange, write_image(tmp_path / "a.png", "red"))
    assert looked_up == []
