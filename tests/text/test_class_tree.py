"""Trees of classes: from labels, parents and files, and what each broader name covers."""

from pathlib import Path

import pytest

from messages import refuses
from texthead.errors import DataError
from texthead.text.class_names import clean_names, leaf_names, names_above
from texthead.text.class_tree import ClassTree, read_tree

YAML = "{animal: {dog: [pug, beagle], cat: [siamese]}}"
TREE = {"pug": ("animal", "dog"), "beagle": ("animal", "dog"), "siamese": ("animal", "cat")}


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (("animal/dog/pug", "animal/cat", "TV/monitor", "kite"), ("pug", "cat", "TV/monitor", "kite")),
        (("TV/monitor", "kite"), ("TV/monitor", "kite")),
        (("animal/dog", "animal/dog/pug", "animal/cat"), ("animal/dog", "animal/dog/pug", "animal/cat")),
        (("a//b", "a/c", "a/d"), ("a//b", "a/c", "a/d")),
        (("dog/boxer", "dog/pug", "sport/boxer", "sport/golf"), ("dog boxer", "pug", "sport boxer", "golf")),
    ],
)
def test_the_last_part_of_a_label_is_its_name_only_in_a_tree(labels, names):
    """A slash is part of a name where no name has two below it, or where a class is a name above another."""
    assert leaf_names(labels) == list(names)


def test_labels_that_are_places_in_a_tree():
    above = names_above(["animal/dog/pug", "animal/cat", "TV/monitor"])
    assert above == {"animal/dog/pug": ("animal", "animal/dog"), "animal/cat": ("animal",), "TV/monitor": ()}
    assert clean_names(["animal/big_dog", "animal/cat"]) == ["big dog", "cat"]
    assert not any(names_above(["TV/monitor", "kite"]).values())


@pytest.mark.parametrize("text", [YAML, "animal:\n  dog: [pug, beagle]\n  cat:\n    siamese:\n"])
def test_a_tree_in_a_file(tmp_path: Path, text: str):
    (tmp_path / "tree.yaml").write_text(text)
    assert read_tree(tmp_path / "tree.yaml").above == TREE


# Lists of nine aliases, each of the list before.
GROWING = ["l0: &l0 [a, b]", *(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 12))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{upper: [shirt, coat], upper: [pants, shorts]}", "the key 'upper' occurs twice"),
        ("\n".join(GROWING), "aliases are not read: write each name once"),
        ("a: [b, b]", "'b' is in the tree twice"),
        ("a: {b: [c]}\nd: {b: [e]}", "'b' is below 'a' and 'd'"),
        ("a: {b: [c]}\nb: [d]", "'b' is below 'a' and no name"),
        ("a: [a]", "'a' is a class and a superclass"),
    ],
)
def test_what_is_no_tree_is_refused(tmp_path: Path, text: str, message: str):
    (tmp_path / "tree.yaml").write_text(text)
    with refuses(DataError, "tree.yaml", message):
        read_tree(tmp_path / "tree.yaml")
    with refuses(DataError, "no such file"):
        read_tree(tmp_path / "other.yaml")


def test_a_broader_name_covers_several_classes_but_not_all():
    """Of two names above the same classes, the lower one remains."""
    tree = ClassTree({**TREE, "kite": ()})
    assert tree.broader(["kite", "pug", "beagle", "siamese"]) == {"animal": [1, 2, 3], "dog": [1, 2]}
    assert tree.broader(["pug", "beagle", "siamese"]) == {"dog": [0, 1]}
    assert tree.broader(["pug", "beagle", "kite"]) == {"dog": [0, 1]}


def test_labels_are_found_in_a_tree_as_clean_names():
    tree = ClassTree({"apply makeup": ("care",), "brush teeth": ("care",)})
    assert tree.ancestors("ApplyMakeup") == ("care",)
    assert tree.with_labels(["ApplyMakeup", "kite"]).above == {**tree.above, "ApplyMakeup": ("care",), "kite": ()}
    with refuses(DataError, "no class is in the tree"):
        tree.with_labels(["kite"])
    # A new label has the place that it names.
    tree = ClassTree(names_above(["animal/dog/pug", "animal/dog/beagle", "kite"]))
    assert tree.ancestors("animal/dog/poodle") == ("animal", "animal/dog")
    assert tree.ancestors("animal/bird/tit") == ("animal",)
    assert tree.ancestors("plane") == ()
