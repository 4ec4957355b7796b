"""Findings from facts: each fault has a case that has it and one beside it that has not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from texthead import doctor
from texthead.class_swaps import Swap
from texthead.datasets import Item
from texthead.doctor import Finding
from texthead.media_facts import HASH_BITS, Appearance, Facts

LOOK = Appearance(brightest=200.0, contrast=40.0, motion=5.0, bits=np.zeros(HASH_BITS, bool))
VIDEO = Facts(Path("v.mp4"), digest="d", frames=30, listed=30, seconds=1.2, width=64, height=48, look=LOOK)
IMAGE = Facts(Path("i.jpg"), digest="d", frames=1, width=65, height=47, look=replace(LOOK, motion=0.0))


def faults(facts: Facts) -> dict[str, str]:
    return {finding.fault: finding.severity for finding in doctor.file_findings([facts], frames=8)}


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (VIDEO, {}),
        (IMAGE, {}),
        (replace(VIDEO, fault="cut short", problem="x"), {"cut short": "serious"}),
        (replace(VIDEO, fault="damaged", problem="x", look=None, frames=1), {"damaged": "serious"}),
        (replace(VIDEO, fault=doctor.STOPPED, problem="took longer"), {doctor.STOPPED: "serious"}),
        (replace(VIDEO, listed=31), {"header counts otherwise": "note"}),
        (replace(VIDEO, listed=0), {}),
        (replace(VIDEO, frames=7, listed=7), {"too few frames": "warning"}),
        (replace(VIDEO, frames=8, listed=8), {}),
        (replace(VIDEO, turned=True), {"rotated": "note"}),
        (replace(VIDEO, uneven=0.02), {"variable frame rate": "note"}),
        (replace(VIDEO, uneven=0.01), {}),
        (replace(VIDEO, width=65), {"odd size": "note"}),
        (replace(VIDEO, width=30), {"odd size": "warning"}),
        (replace(IMAGE, width=400, height=90), {"odd size": "warning"}),
        (replace(VIDEO, look=replace(LOOK, brightest=20.0, contrast=3.0)), {"near black": "warning"}),
        (replace(VIDEO, look=replace(LOOK, contrast=0.3)), {"one colour": "warning"}),
        (replace(VIDEO, look=replace(LOOK, motion=0.05)), {"frozen": "warning"}),
        (replace(VIDEO, look=replace(LOOK, motion=0.4)), {}),
    ],
)
def test_a_file_by_itself(facts: Facts, found: dict[str, str]) -> None:
    assert faults(facts) == found


def made(*rows: str) -> tuple[list[Item], list[Facts]]:
    """Items and facts of `name label split digest`."""
    split = [row.split() for row in rows]
    items = [Item(Path(name), label, None if part == "-" else part) for name, label, part, _ in split]  # pyright: ignore
    return items, [replace(VIDEO, path=item.path, digest=row[3]) for item, row in zip(items, split, strict=True)]


def test_copies() -> None:
    items, facts = made(
        "a.mp4 cat train 1",
        "b.mp4 cat train 1",
        "c.mp4 cat train 2",
        "d.mp4 dog train 2",
        "e.mp4 cat train 3",
        "f.mp4 cat test 3",
        "g.mp4 cat train 4",
    )
    facts += [replace(VIDEO, path=Path(f"{n}.mp4"), digest="", fault="empty") for n in "xy"]
    items += [Item(Path(f"{n}.mp4"), "cat", "train") for n in "xy"]
    found = {(f.fault, f.severity, f.items) for f in doctor.copies(items, facts)}
    assert found == {
        ("exact duplicate", "warning", (0, 1)),
        ("one file, two labels", "serious", (2, 3)),
        ("leak", "serious", (4, 5)),
    }


def test_near_copies_leave_exact_ones_to_the_other() -> None:
    items, facts = made("a cat train 1", "b cat train 1", "c cat train 2", "d dog test 3")
    pairs = {(2, 3): "as two peas", (0, 1): "of the same bytes"}
    (found,) = doctor.near_copies(items, facts, pairs)
    assert (found.fault, found.severity, found.items) == ("near leak", "serious", (2, 3))
    assert found.detail == "looks like d in test and train (as two peas; labels cat, dog); look which label is true"


def test_near_copies_come_in_groups_that_hang_together() -> None:
    items, facts = made(*(f"{name} cat train {name}" for name in "abcdefgh"))
    pairs = dict.fromkeys([(0, 4), (4, 6), (1, 2)], "alike")
    first, second = doctor.near_copies(items, facts, pairs)
    assert (first.fault, first.severity) == ("near duplicate", "warning")
    assert {first.items, second.items} == {(0, 4, 6), (1, 2)}
    assert doctor.near_copies(items, facts, {}) == []


def test_near_copies_under_two_labels_have_a_fault_of_their_own() -> None:
    items, facts = made("a cat train 1", "b dog train 2")
    (found,) = doctor.near_copies(items, facts, {(0, 1): "alike"})
    assert (found.fault, found.severity) == ("near duplicate, two labels", "warning")
    assert found.detail == "looks like b (alike; labels cat, dog); look which label is true"


def test_what_has_the_bytes_of_a_near_copy_is_one_too() -> None:
    items, facts = made("a cat train 1", "b cat train 2", "c cat test 2", "d cat test 3", "e cat train 3")
    (found,) = doctor.near_copies(items, facts, {(0, 1): "alike"})
    assert (found.fault, found.items) == ("near leak", (0, 1, 2))


def test_a_copy_before_all_that_look_alike_is_told_with_them() -> None:
    items, facts = made("a.png cat train 1", "a.gif cat train 1", "b cat train 2")
    (found,) = doctor.near_copies(items, facts, {(1, 2): "alike"})
    assert found.items == (0, 1, 2)
    assert "alike" in found.detail


def test_groups_in_two_splits() -> None:
    items = [Item(Path("a"), "cat", "train", "g1"), Item(Path("b"), "cat", "test", "g1")]
    items += [Item(Path("c"), "cat", "train", "g2"), Item(Path("d"), "cat", "train", "g2")]
    items += [Item(Path("e"), "cat", "test"), Item(Path("f"), "cat", "train")]
    (found,) = doctor.group_leaks(items)
    assert (found.about, found.severity, found.detail) == (
        "g1",
        "serious",
        "has items in test and train; put all into one",
    )


def test_counts() -> None:
    def counted(counts: dict[str, int], k: int | None, split: str = "train") -> dict[str, str]:
        items = [Item(Path(f"{c}{i}"), c, split) for c, n in counts.items() for i in range(n)]  # pyright: ignore
        items.append(Item(Path("t"), "cat", "test"))
        return {f.about: f.fault for f in doctor.count_findings(items, k=k)}

    assert counted({"cat": 20, "dog": 2}, None) == {}
    assert counted({"cat": 21, "dog": 2}, None) == {"dog": "imbalance"}
    assert counted({"cat": 20, "dog": 2}, 3) == {"dog": "too few items"}
    assert counted({"cat": 3, "dog": 1}, None) == {"dog": "one training item"}
    assert counted({"dog": 3}, None) == {"cat": "no training item"}


def test_names() -> None:
    found = {
        (f.about, f.fault, f.severity)
        for f in doctor.name_findings(
            ["dog", "ApplyEyeMakeup", "v_001", "push_up", "Push up", "turn left", "бег"], clean=True
        )
    }
    assert found == {
        ("ApplyEyeMakeup", "words run together", "note"),
        ("v_001", "a code, no name", "serious"),
        ("push_up", "words run together", "note"),
        ("push_up", "same name twice", "serious"),
        ("turn left", "left or right", "note"),
        ("бег", "other letters", "warning"),
    }
    (verbatim,) = doctor.name_findings(["push_up"], clean=False)
    assert (verbatim.severity, verbatim.detail) == ("warning", "is not read as 'push up': take --names clean")
    assert [f.about for f in doctor.unknown_labels(["a", "b"], ["b", "c"])] == ["a"]


def test_folders() -> None:
    items = [Item(Path("dress/1.jpg"), "hat"), Item(Path("hat/1.jpg"), "hat"), Item(Path("files/2.jpg"), "dress")]
    items += [Item(Path("Long_Sleeve/1.jpg"), "long sleeve")]
    (found,) = doctor.folder_findings(items)
    assert (found.items, found.severity) == ((0,), "serious")
    # Two labels that read the same: each lies in its own folder.
    assert not doctor.folder_findings(
        [Item(Path("Play Violin/1.jpg"), "Play Violin"), Item(Path("b/2.jpg"), "play_violin")]
    )


def test_synonyms_come_closest_first() -> None:
    cosines = np.array([[1, 0.9, 0.2], [0.9, 1, 0.95], [0.2, 0.95, 1]])
    found = doctor.synonym_findings(["a", "b", "c"], cosines, above=0.8)
    assert [(f.about, f.detail.split(" (")[0]) for f in found] == [("b", "reads like c"), ("a", "reads like b")]
    # Measured, many such pairs are told apart.
    assert found[0].detail.endswith(
        " and may be confused with it: describe both in sentences (--classes FILE.json), or merge them where they mean "
        "the same"
    )
    (swap,) = doctor.swap_findings(["a", "b", "c"], [Swap(0, 2, 0.3, 0.05)])
    assert (swap.about, swap.severity) == ("a", "serious")
    assert swap.detail.startswith("with c: ")


def test_what_is_left_out() -> None:
    items, facts = made(
        "a cat train 1",
        "b cat train 1",
        "c cat train 2",
        "d dog train 2",
        "e cat train 3",
        "f cat test 3",
        "g cat val 5",
    )
    facts[6] = replace(facts[6], fault="damaged", problem="frame 3 is damaged", digest="")
    findings = doctor.copies(items, facts) + doctor.file_findings(facts, frames=8)
    findings.append(Finding("serious", "near leak", "g", "", (5, 6)))
    gone = doctor.left_out(items, findings)
    assert sorted(gone) == [1, 2, 3, 4, 6]
    assert gone[1] == "exact duplicate: a stays"
    assert gone[4] == "leak: f stays"
    assert gone[6].startswith("damaged: frame 3")


def test_a_chain_of_copies_keeps_one() -> None:
    items, _ = made("a cat train 1", "b cat train 2", "c cat test 3")
    chain = [Finding("serious", "near leak", "", "", (0, 2)), Finding("serious", "near leak", "", "", (1, 2))]
    assert sorted(doctor.left_out(items, chain)) == [0, 1]


def test_rows_of_a_cleaned_list(tmp_path: Path) -> None:
    items = [
        Item(tmp_path / "in" / "a.mp4", "cat", "train", "g", (("source", "x"),)),
        Item(tmp_path / "b.mp4", "dog", "test", None, (("source", "y"),)),
        Item(Path("/elsewhere/c.mp4"), "dog", "test", None, (("other", "z"),)),
    ]
    columns, rows = doctor.cleaned_rows(items, [1], tmp_path)
    assert columns == ["path", "label", "split", "group", "source", "other"]
    assert rows == [["in/a.mp4", "cat", "train", "g", "x", ""], ["/elsewhere/c.mp4", "dog", "test", "", "", "z"]]
    assert doctor.cleaned_rows([Item(Path("/x/a"), "cat")], [], tmp_path) == (["path", "label"], [["/x/a", "cat"]])
