"""Findings from facts: each fault has a case with it and a similar case without it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from messages import prints
from texthead.apps.doctor import findings as doctor
from texthead.apps.doctor.examine import Diagnosis
from texthead.apps.doctor.file_stats import EDGES, STOPPED, FileStats
from texthead.apps.doctor.findings import Finding
from texthead.apps.doctor.near_duplicates import Likeness
from texthead.data.dataset import Dataset, Item

VIDEO = FileStats(
    Path("v.mp4"),
    digest="d",
    brightest=200.0,
    contrast=40.0,
    edges=np.zeros(EDGES, np.float16),
    colours=np.zeros((16, 16, 3), np.uint8),
)


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (VIDEO, {}),
        (replace(VIDEO, fault="cut short", problem="x"), {"cut short": "serious"}),
        (replace(VIDEO, fault="damaged", problem="x", contrast=0.0), {"damaged": "serious"}),
        (replace(VIDEO, fault=STOPPED, problem="took longer"), {STOPPED: "serious"}),
        (replace(VIDEO, brightest=20.0, contrast=3.0), {"black or one colour": "warning"}),
        (replace(VIDEO, contrast=0.3), {"black or one colour": "warning"}),
    ],
)
def test_a_file_by_itself(facts: FileStats, found: dict[str, str]) -> None:
    assert {finding.fault: finding.severity for finding in doctor.file_findings([facts])} == found


def make_items(*rows: str) -> tuple[list[Item], list[FileStats]]:
    """Return items a, b, c, ... and their facts from rows of `label [split] digest`; the default split is train."""
    items, facts = [], []
    for index, row in enumerate(rows):
        label, *split, digest = row.split()
        items.append(Item(Path("abcdefghi"[index]), (label,), *(split or ["train"])))  # pyright: ignore[reportArgumentType]
        facts.append(replace(VIDEO, path=items[-1].path, digest=digest))
    return items, facts


def test_copies() -> None:
    items, facts = make_items("cat 1", "cat 1", "cat 2", "dog 2", "cat 3", "cat test 3", "cat 4", "cat 5", "cat 5")
    # A file without bytes is not a copy of another.
    facts[7:] = [replace(fact, digest="", fault="empty") for fact in facts[7:]]
    assert {(f.fault, f.severity, f.items) for f in doctor.copies(items, facts)} == {
        ("exact duplicate", "warning", (0, 1)),
        ("one file, two labels", "serious", (2, 3)),
        ("leak", "serious", (4, 5)),
    }


@pytest.mark.parametrize(
    ("rows", "pairs", "fault", "severity", "members", "parts"),
    [
        ("cat 1, dog 2", [(0, 1)], "near duplicate, two labels", "warning", (0, 1), ["b", "cat, dog"]),
        # Exact copies are left to `copies`; copies of a near copy join its group, whether listed before or after it.
        ("cat 1, cat 1, cat 2, dog test 3", [(2, 3), (0, 1)], "near leak", "serious", (2, 3), ["d", "cat, dog"]),
        ("cat 1, cat 1, cat 2", [(1, 2)], "near duplicate", "warning", (0, 1, 2), ["b, c"]),
        ("cat 1, cat 2, cat test 2, cat test 3, cat 3", [(0, 1)], "near leak", "serious", (0, 1, 2), ["b, c"]),
    ],
)
def test_near_copies(rows, pairs, fault, severity, members, parts) -> None:
    (result,) = doctor.near_copies(*make_items(*rows.split(", ")), dict.fromkeys(pairs, Likeness("like two peas")))
    assert (result.fault, result.severity, result.items) == (fault, severity, members)
    prints(result.detail, "like two peas", *parts)


def test_a_near_leak_is_serious_if_a_sure_pair_is_in_two_splits() -> None:
    items, facts = make_items("cat 1", "cat 2", "cat test 3", "dog test 4")
    unsure, sure = Likeness("a little", sure=False), Likeness("much")
    (doubt,) = doctor.near_copies(items, facts, {(0, 2): unsure})
    assert (doubt.fault, doubt.severity) == ("may be a near leak", "warning")
    assert doctor.left_out(items, [doubt]) == {}
    (doubt,) = doctor.near_copies(items, facts, {(0, 2): unsure, (2, 3): sure})
    assert (doubt.fault, doubt.items) == ("may be a near leak", (0, 2, 3))
    (leak,) = doctor.near_copies(items, facts, {(0, 1): unsure, (1, 2): sure})
    assert (leak.fault, leak.severity, leak.items) == ("near leak", "serious", (0, 1, 2))
    pairs = doctor.near_copies(items, facts, {(0, 1): unsure, (2, 3): unsure})
    assert [pair.items for pair in pairs] == [(0, 1), (2, 3)], "in groups"


def parts(*rows: str) -> list[Item]:
    """Return items from rows of `path label split`."""
    return [Item(Path(path), (label,), split) for path, label, split in map(str.split, rows)]  # pyright: ignore


def test_parts_of_one_file_are_near_copies_across_splits_only() -> None:
    alike = Likeness("alike")
    items = parts("a.mp4#t=0,1 cat train", "a.mp4#t=1,2 cat train", "a.mp4#t=2,3 cat test", "b.mp4 cat train")
    facts = [replace(VIDEO, path=item.path, digest=str(index)) for index, item in enumerate(items)]
    assert [*doctor.near_copies(items, facts, {(0, 1): alike})] == []
    (leak,) = doctor.near_copies(items, facts, {(0, 1): alike, (1, 2): alike})
    assert (leak.fault, leak.items) == ("near leak", (1, 2))
    (copy,) = doctor.near_copies(items, facts, {(0, 3): alike})
    assert (copy.fault, copy.items) == ("near duplicate", (0, 3))


def test_groups_in_two_splits() -> None:
    rows = [("train", "g1"), ("test", "g1"), ("train", "g2"), ("train", "g2"), ("test", None), ("train", None)]
    (result,) = doctor.group_leaks([Item(Path("a"), ("cat",), split, group) for split, group in rows])  # pyright: ignore
    assert (result.about, result.severity) == ("g1", "serious")
    prints(result.detail, "test and train")


def test_parts_of_a_video_in_two_splits() -> None:
    """They may overlap, and look alike in any case; training warns of them too."""
    (result,) = doctor.group_leaks(parts("a.mp4#t=0,2 cat train", "a.mp4#t=1,3 cat test", "b.mp4#t=0,1 cat train"))
    assert (Path(result.about).name, result.severity) == ("a.mp4", "warning")
    prints(result.detail, "test and train")


@pytest.mark.parametrize(
    ("cats", "dogs", "found"),
    [(20, 2, {}), (21, 2, {"dog": "imbalance"}), (3, 1, {"dog": "one training item"}), (0, 3, {})],
)
def test_counts(cats: int, dogs: int, found: dict[str, str]) -> None:
    items = [Item(Path("t"), ("cat",), "test"), *[Item(Path("c"), ("cat",), "train")] * cats]
    items += [Item(Path("d"), ("dog",), "train")] * dogs
    assert {finding.about: finding.fault for finding in doctor.count_findings(items)} == found


def test_codes_and_letters_that_are_not_latin_make_no_names() -> None:
    codes = ["n01440764", "v_001", "7", "class 12", "Class_3", "video-0007", "c12", "id4", "x1y2"]
    names = ["dog", "TV", "A", "t-shirt", "4 wheel drive", "backflip360", "n01440764 tench", "boeing 747", "_"]
    names += ["two  spaces", "ApplyEyeMakeup", "café Ångström 3"]
    findings = doctor.name_findings([*codes, *names, "бег", "跑步"])
    assert [(f.about, f.fault, f.severity) for f in findings] == [
        *((code, "code instead of a name", "serious") for code in codes),
        *((name, "non-Latin letters", "warning") for name in ("бег", "跑步")),
    ]


def test_a_cleaned_list_leaves_out() -> None:
    items, facts = make_items("cat 1", "cat 1", "cat 2", "dog 2", "cat 3", "cat test 3", "cat val 5")
    facts[6] = replace(facts[6], fault="damaged", problem="frame 3 is damaged", digest="")
    findings = [*doctor.copies(items, facts), *doctor.file_findings(facts)]
    findings.append(Finding("serious", "near leak", "g", "", (5, 6)))
    gone = doctor.left_out(items, findings)
    assert sorted(gone) == [1, 2, 3, 4, 6]
    prints(gone[1], "exact duplicate", " a ")
    prints(gone[4], "leak", " f ")
    for position, other in ((2, "d"), (3, "c")):  # Not the file itself.
        assert gone[position] == f"one file, two labels: labelled cat and dog; same bytes as {other}; keep one label"
    prints(gone[6], "damaged", "frame 3")
    # One item of a chain of copies is kept.
    items, _ = make_items("cat 1", "cat 2", "cat test 3")
    chain = [Finding("serious", "near leak", "", "", (0, 2)), Finding("serious", "near leak", "", "", (1, 2))]
    assert sorted(doctor.left_out(items, chain)) == [0, 1]


def test_rows_of_a_cleaned_list(tmp_path: Path) -> None:
    items = [
        Item(tmp_path / "in" / "a.mp4", ("cat",), "train", "g", (("source", "x"), ("label", "y"), ("path", "z"))),
        Item(tmp_path / "b.mp4", ("dog",), "test", None, (("source", "y"),)),
        Item(Path("/elsewhere/c.mp4"), ("dog",), "test", None, (("other", "z"),)),
    ]
    diagnosis = Diagnosis(Dataset(tuple(items)), (), left_out={1: "a copy"})
    assert diagnosis.write_clean_list(tmp_path / "new.csv") == 2
    assert (tmp_path / "new.csv").read_text().splitlines() == [
        "path,label,split,group,source,other",
        "in/a.mp4,cat,train,g,x,",
        f"{Path('/elsewhere/c.mp4').absolute().as_posix()},dog,test,,,z",
    ]
