"""Edits leave all other rows bit-identical and are written to a new folder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from made import SPEC, noise, tiny_visual, write_image
from messages import refuses
from run_folders import changed, contents, put
from text_models import bert, image_only
from texthead.apps.classes.class_edits import add_classes, remove_classes, rename_class
from texthead.data.dataset import Dataset, Item
from texthead.encoders.load import load_encoder
from texthead.encoders.pairing import pair
from texthead.errors import DataError, RunError
from texthead.files import read_json
from texthead.models.head_table import head_json
from texthead.models.heads import TEXT_AND_ITEMS, FrozenHead, LinearHead, ProbeHead, TrainableHead
from texthead.models.multilabel_head import MultiLabelHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool
from texthead.prediction import run as runs
from texthead.prediction.load import load_run
from texthead.prediction.run import Run
from texthead.runs.folder import saved_split
from texthead.runs.saved import row_source

NAMES = ("a cat", "a dog", "a boat")
WIDTH = 288  # wider than the features, so that the run stores a map


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return bert(tmp_path_factory.mktemp("text") / "bert", WIDTH)


@pytest.fixture
def make(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that writes a finished run whose text head has a center, a scale and a map."""

    def load(source: str, *, text: str | None, text_map: torch.Tensor | None, **_: bool) -> object:
        assert source == "tiny"
        return pair(image_only(), text, text_map=text_map) if text else load_encoder(source)

    monkeypatch.setattr(runs, "load_encoder", load)
    encoder = pair(image_only(), text, prompts=[f"a {name}." for name in NAMES])

    def made(head: type = FrozenHead, kind: str = "text", folder: str = "run") -> Path:
        if head is LinearHead:
            layer = LinearHead(encoder.dim, names=NAMES)
        else:
            own = {"text_source": encoder.text_source, "text_map": encoder.text_map} if kind == "text" else {}
            prompts = [f"a {name}." for name in NAMES] if kind == "text" else None
            rows = encoder.text_rows([f"a {name}." for name in NAMES])
            layer = head(rows, names=NAMES, scale=17.0, center=noise(encoder.dim), kind=kind, prompts=prompts, **own)
        if head is not FrozenHead:  # training moves rows away from unit length
            with torch.no_grad():
                layer.weight.mul_(noise(3, 1).abs() + 0.5).add_(0.02 * noise(3, encoder.dim, seed=1))
        path = put(tmp_path / folder, Recognizer(tiny_visual(), MeanPool(), layer))
        labels = {"train_labels": ["a cat", "a dog"], "held_out_labels": ["a boat"]}
        changed(path, "split.json", lambda split: split.update(labels))
        return path

    return made


@pytest.fixture
def folder(make: Callable[..., Path]) -> Path:
    return make()


FEATURES = noise(64, 256, seed=5)


@torch.no_grad()
def logits(run: Run) -> dict[str, torch.Tensor]:
    """Return each label's scores of FEATURES."""
    return dict(zip(run.labels, run.model.head(FEATURES).T, strict=True))


def same(before: Run, after: Run, labels: dict[str, str] | tuple[str, ...]) -> None:
    """Check that the labels' rows are bit-identical and their scores equal within 1e-6 of the scale."""
    names = labels if isinstance(labels, dict) else {label: label for label in labels}
    old, new = logits(before), logits(after)
    rows = [run.model.head.weight for run in (before, after)]
    for was, now in names.items():
        assert torch.equal(rows[0][before.labels.index(was)], rows[1][after.labels.index(now)])
        assert torch.allclose(old[was], new[now], rtol=0, atol=17 * 1e-6)


def saved(run: Run) -> Run:
    """Save an edited run next to the original."""
    run.save(out := run.folder.with_name(f"run {len(list(run.folder.parent.iterdir()))}"))
    return load_run(out)


def entry(run: Run, label: str) -> dict:
    (result,) = [each for each in run.classes["classes"] if each["label"] == label]
    return result


@pytest.mark.parametrize("head", [FrozenHead, TrainableHead])
def test_added_classes_stand_behind_the_others(make, head):
    before = load_run(make(head))
    multilabel = ["a dog on a lake", "a tree"]
    after = add_classes(before, ["tree", "lake dog"], names=["tree", "x"], prompts=[None, multilabel])
    assert before.labels == NAMES, "the run that was there is left alone"
    assert after.labels == (*NAMES, "tree", "lake dog")
    same(before, after, NAMES)
    # The same scores as from with_classes, with the same prompts, center, scale and map.
    other = before.with_classes(["tree", "lake dog"], names=["tree", "x"], prompts=[None, multilabel])
    assert torch.allclose(logits(after)["tree"], logits(other)["tree"], atol=1e-5)
    assert torch.allclose(logits(after)["lake dog"], logits(other)["lake dog"], atol=1e-5)
    each = before.encoder().encode_text(multilabel).detach()
    mean = F.normalize(F.normalize(each, dim=-1).mean(0), dim=-1)
    assert torch.allclose(after.model.head.weight[4], mean, atol=1e-6)
    # The first prompt comes from the run's own template.
    assert [entry(after, label)["prompt"] for label in ("tree", "lake dog")] == ["a tree.", multilabel]
    assert row_source(head_json(after.head), entry(after, "tree")) == "text"
    before_training = head is FrozenHead
    assert row_source(head_json(after.head), entry(after, "a cat")) == ("text" if before_training else "text, trained")
    again = saved(after)
    assert again.labels == after.labels
    assert read_json(again.folder / "classes.json")["edited"]["edits"] == ["added 'tree', 'lake dog'"]
    assert torch.equal(again.model.head.weight, after.model.head.weight)
    assert again.model.head.prompts == (*(f"a {name}." for name in NAMES), "a tree.", tuple(multilabel))
    assert all(p.requires_grad for p in again.model.head.parameters())
    assert type(again.model.head) is head


@pytest.mark.parametrize("head", [FrozenHead, TrainableHead, LinearHead])
def test_renamed_and_left_classes_keep_their_rows_and_prompts(make, head):
    before = load_run(make(head, "text" if head is not LinearHead else "linear"))
    after = saved(rename_class(before, "a dog", "hound"))
    assert after.labels == ("a cat", "hound", "a boat")
    same(before, after, {"a cat": "a cat", "a dog": "hound", "a boat": "a boat"})
    now, was = entry(after, "hound"), entry(before, "a dog")
    assert now["prompt"] == was["prompt"]
    # Without an encoded name, the class name is the new label.
    assert now["name"] == ("hound" if head is LinearHead else "a dog")
    left = saved(remove_classes(after, ["hound", "a cat"]))
    same(before, left, ("a boat",))
    assert left.labels == ("a boat",)
    with refuses(DataError, 1):
        remove_classes(left, ["a boat"])


@pytest.mark.parametrize("head", [FrozenHead, TrainableHead])
def test_a_class_that_is_encoded_anew_changes_alone(make, head):
    before, prompts = load_run(make(head)), ["a tree", "a tree on a lake"]
    after = saved(rename_class(before, "a dog", "tree", prompt=prompts))
    same(before, after, {"a cat": "a cat", "a boat": "a boat"})
    assert after.labels == ("a cat", "tree", "a boat")
    assert torch.allclose(after.model.head.weight[1], before.encoder().text_rows([prompts])[0], atol=1e-6)
    assert entry(after, "tree") == {"label": "tree", "name": "tree", "prompt": prompts, "row": "text"}
    other = rename_class(after, "tree", "tree", prompt="a boat on a lake")
    assert other.labels == after.labels
    assert not torch.allclose(logits(other)["tree"], logits(after)["tree"], atol=1e-3)


@pytest.mark.parametrize(
    ("head", "kind"),
    [*((FrozenHead, kind) for kind in ("normal", "lda", "own")), (TrainableHead, "cosine"), (LinearHead, "linear")],
)
def test_no_text_row_beside_rows_that_are_none(make, head, kind):
    run, tuned = load_run(make(head, kind)), replace(load_run(make()), text_tuned=True)
    for each, part in ((run, repr(kind)), (tuned, "text encoder")):
        with refuses(RunError, each.folder, part):
            add_classes(each, ["tree"])
        with refuses(RunError, each.folder, part):
            rename_class(each, "a cat", "tree", prompt="a tree")
    assert remove_classes(tuned, ["a cat"]).labels == tuned.labels[1:]
    assert row_source(head_json(run.head), entry(run, "a cat")) == ("trained" if kind in ("cosine", "linear") else kind)


@pytest.mark.parametrize(
    ("edit", "parts"),
    [
        (lambda run: add_classes(run, ["a dog"]), ["'a dog'"]),
        (lambda run: add_classes(run, ["tree", "tree"]), ["class names 'tree' and 'tree'"]),
        (lambda run: add_classes(run, ["hound"], names=["a dog"]), ["'hound'", "'a dog'"]),
        (lambda run: add_classes(run, ["x", "y"], prompts=["a tree"] * 2), ["'y'", "'x'"]),
        (lambda run: add_classes(run, ["x"], prompts=[[]]), ["'x'"]),
        (lambda run: add_classes(run, ["x"], prompts=[" "]), ["'x'"]),
        (lambda run: rename_class(run, "a dgo", "x"), ["'a dgo'", "'a dog'"]),
        (lambda run: rename_class(run, "zebra", "x"), ["'zebra'", "a cat, a dog, a boat"]),
        (lambda run: rename_class(run, "a dog", "a cat"), ["'a cat'"]),
        (lambda run: rename_class(run, "a dog", ""), []),
        (lambda run: rename_class(run, "a dog", "x", prompt="a a cat."), ["'x'", "'a cat'"]),
        (lambda run: remove_classes(run, ["a cta"]), ["'a cat'"]),
        (lambda run: remove_classes(run, list(NAMES)), [3]),
    ],
)
def test_what_cannot_be_edited(folder, edit, parts):
    with refuses(DataError, *parts):
        edit(load_run(folder))


def test_other_classes_are_not_the_folder_s(folder):
    run = load_run(folder)
    other = run.with_classes(["tree"])
    for labels, *pieces in ((5, "labels", 5), ("a tree", "labels", "['a tree']"), ([3], "labels", "[3]")):
        with refuses(DataError, *pieces):
            run.with_classes(labels)
    assert other.classes is None
    with refuses(RunError, folder, "with_classes"):
        add_classes(other, ["lake"])
    again = saved(other)
    same(other, again, ("tree",))
    assert (again.labels, again.split.trained_on) == (("tree",), run.split.trained_on)
    assert saved(run).labels == run.labels


def test_split_follows_renamed_classes(folder):
    run = saved(rename_class(load_run(folder), "a cat", "hound"))
    assert read_json(run.folder / "split.json")["train_labels"] == ["hound", "a dog"]
    # The name of a removed class can be reused, but the old items do not belong to the new class.
    last = saved(rename_class(remove_classes(run, ["a dog"]), "hound", "a dog"))
    split = read_json(last.folder / "split.json")
    assert (split["train_labels"], split["held_out_labels"]) == (["a dog", None], ["a boat"])
    assert last.split.trained_on == run.split.trained_on
    assert split["train_content"] == run.split.lists["train_content"]


def test_items_of_removed_classes(folder, tmp_path):
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.png", "red")
    train, held_out = (str(tmp_path / f"{name}.png") for name in "ab")
    changed(
        folder,
        "split.json",
        lambda split: split.update(train=[train], train_labels=["a dog"], train_groups=[], held_out=[held_out]),
    )
    before = load_run(folder)
    assert before.split.held_out_items().labels == ["a boat"]
    after = saved(remove_classes(before, ["a dog", "a boat"]))
    with refuses(DataError, after.folder):
        after.split.held_out_items()
    assert after.split.was_trained_on(Path(train))
    with refuses(DataError, train):
        after.split.choose(Dataset((Item(Path(train), ("a cat",)),), "all"), None)


def test_an_edit_is_a_new_run_and_the_old_one_stays(folder):
    source = "openclip:local-dir:{run}/encoder"  # as in an imported run
    changed(folder, "recipe.json", lambda about: about["encoder"].update(source=source))
    carried = "encoder/open_clip_config.json"
    for name in ("metrics.jsonl", "scores.json", "report.html", "state/last.safetensors", carried):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    before, new = contents(folder), folder.parent / "new"
    run = rename_class(load_run(folder), "a dog", "hound")
    run.save(new)
    after = load_run(new)
    assert (after.folder, after.labels, after.edits) == (new, ("a cat", "hound", "a boat"), ())
    assert contents(folder) == before
    made = {"classes.json", "model.safetensors", "split.json"}
    copied = {"recipe.json", "metrics.jsonl", "scores.json", carried}
    assert set(contents(new)) == made | copied
    assert (after.carries_encoder, after.spec.source) == (True, f"openclip:local-dir:{new}/encoder")
    for name in copied:
        assert contents(new)[name] == before[name]
        assert (new / name).stat().st_ino != (folder / name).stat().st_ino, "a link would be appended to in both"
    record = {"run": str(folder), "edits": ["renamed 'a dog' to 'hound'"]}
    assert read_json(new / "classes.json")["edited"] == record
    # An edit of the edit names only the run that it was made from.
    again = saved(remove_classes(rename_class(after, "hound", "wolf"), ["a cat"]))
    record = {"run": str(new), "edits": ["renamed 'hound' to 'wolf'", "removed 'a cat'"]}
    assert read_json(again.folder / "classes.json")["edited"] == record
    same(after, again, {"hound": "wolf", "a boat": "a boat"})
    old, now = (load_file(path / "model.safetensors") for path in (folder, again.folder))
    assert old.keys() == now.keys()
    assert [key for key in old if not torch.equal(old[key], now[key])] == ["head.weight"]


@pytest.fixture
def multilabel(text: str, make: Callable[..., Path], tmp_path: Path) -> Path:
    """A multi-label run, fitted from text rows."""
    encoder = pair(image_only(), text, prompts=[f"a {name}." for name in NAMES])
    rows = 3 * encoder.text_rows([f"a {name}." for name in NAMES])
    own = {"text_source": encoder.text_source, "text_map": encoder.text_map, "kind": TEXT_AND_ITEMS}
    probe = ProbeHead(rows, bias=noise(3), center=noise(encoder.dim), names=NAMES, **own)
    head = MultiLabelHead(probe, bias=torch.tensor([-9.0, -8.0, -7.0]), thresholds=torch.tensor([0.5, 1.0, 1.5]))
    path = put(tmp_path / "several", Recognizer(tiny_visual(), MeanPool(), head))
    labels = {"train_labels": ["a cat; a dog", "a dog"], "held_out_labels": [""]}
    changed(path, "split.json", lambda split: split.update(labels))
    return path


def test_classes_of_several_labels_keep_bias_and_threshold(multilabel: Path, tmp_path: Path) -> None:
    run, features = load_run(multilabel), noise(4, SPEC.dim)
    before = run.head(features)
    edited = add_classes(run, ["a bird"])
    edited = rename_class(remove_classes(edited, ["a cat"]), "a dog", "a puppy")
    edited.save(tmp_path / "new")
    saved = load_run(tmp_path / "new")
    assert isinstance(saved.head, MultiLabelHead)
    assert saved.labels == ("a puppy", "a boat", "a bird")
    assert torch.equal(saved.head(features)[:, :2], before[:, 1:])
    assert saved.head.thresholds.tolist() == [1.0, 1.5, 1.0]
    assert float(saved.head.bias[2]) == pytest.approx(-8.0)
    split = saved_split(tmp_path / "new")
    assert (split["train_labels"], split["held_out_labels"]) == (["a puppy", "a puppy"], [""])
    with refuses(DataError, "a dog", "same embedding"):
        add_classes(run, ["dog"], prompts=["a a dog."])
    other = run.with_classes(["a bird", "a tree"])
    assert other.head.thresholds.tolist() == [1.0, 1.0]
