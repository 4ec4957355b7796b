"""Draws are exact, nested and disjoint, and depend on names and seed, not on the order of the items."""

import contextlib
import io
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messages import refuses
from paper import class_draws
from paper.class_draws import half_classes, unseen_classes
from texthead import Dataset, Item
from texthead.data import splits
from texthead.errors import DataError

ROOT = Path(__file__).parents[2]
LABELS = [f"class {i % 7}" for i in range(140)]


def names_of(labels: Sequence[str]) -> list[str]:
    return [f"{i:03}.mp4" for i in range(len(labels))]


def drawing(draw: Callable[..., Dataset]) -> Callable[..., list[int]]:
    """Return the draw as a function of labels, which returns positions; items have names, unless some are given."""

    def positions(labels: Sequence[str], *values: object, names: Sequence[str] = (), **options: object) -> list[int]:
        at = {Path(name): i for i, name in enumerate(names or names_of(labels))}
        dataset = Dataset(tuple(Item(path, (label,)) for path, label in zip(at, labels, strict=True)))
        return [at[path] for path in draw(dataset, *values, **options).paths]

    return positions


at_most, k_shot, fraction, k_shot_per_process = (
    drawing(draw) for draw in (Dataset.at_most, Dataset.k_shot, class_draws.fraction, class_draws.k_shot_per_process)
)


def hold_out(labels: Sequence[str], *values: object, **options: object) -> list[int]:
    """Hold out items, each its own group, unless groups are given."""
    return splits.hold_out(labels, *values, **{"names": names_of(labels), "groups": range(len(labels)), **options})


seeds = st.integers(0, 2**32 - 1)
labelled = st.lists(st.sampled_from("abcd"), min_size=1, max_size=60)


def count_classes(labels: list[str], positions: list[int]) -> Counter:
    """Count the items of each class; the positions must be strictly ascending."""
    assert positions == sorted(set(positions))
    return Counter(labels[position] for position in positions)


@given(labelled, seeds, st.integers(1, 5))
def test_k_a_class(labels, seed, k):
    """Exactly k, or an error; or what there is."""
    count = Counter(labels)
    drawn = count_classes(labels, at_most(labels, k, seed=seed))
    assert drawn == {label: min(k, items) for label, items in count.items()}
    if min(count.values()) < k:
        with pytest.raises(DataError, match=f"`k={k}`"):
            k_shot(labels, k, seed=seed)
    else:
        assert count_classes(labels, k_shot(labels, k, seed=seed)) == dict.fromkeys(count, k)


@given(seeds)
@settings(max_examples=30)
def test_a_smaller_k_lies_within_a_larger_one(seed):
    draws = [set(k_shot(LABELS, k, seed=seed)) for k in range(1, 21)]
    assert all(small < large for small, large in zip(draws, draws[1:], strict=False))
    assert draws[-1] == set(range(140))


PER_PROCESS = partial(k_shot_per_process, processes=2)


def test_too_few_items_of_a_class():
    assert len(k_shot(["a"] * 3, 2, names=["\udce9.mp4", "é.mp4", "e.mp4"], seed=0)) == 2, "names need not be UTF-8"
    for draw in (k_shot, PER_PROCESS):
        with refuses(DataError, "'b'", 1, "`k=2`"):
            draw(["a", "a", "b"], 2, seed=0)


@pytest.mark.parametrize(
    ("draw", "parameter", "value"),
    [
        *((fraction, "fraction", value) for value in (0.0, -0.1, 1.1, float("nan"))),
        *((hold_out, "held_out", value) for value in (0.0, 1.0, -0.5, float("nan"))),
        *((unseen_classes, "unseen", value) for value in (0, 140, 141, -1)),
        *((lambda _, value, seed: half_classes(value, seed), "classes", value) for value in (0, 1, -3)),
        (lambda _, value, seed: k_shot_per_process(LABELS, 1, processes=value, seed=seed), "processes", 0),
    ],
)
def test_a_value_outside_its_range(draw, parameter, value):
    with refuses(DataError, parameter, value):
        draw(LABELS, value, seed=0)


def test_items_are_drawn_equally_often_and_classes_apart():
    count = Counter(position for seed in range(700) for position in k_shot(LABELS, 2, seed=seed))
    # Each of a class's 20 items is expected in 70 of 700 draws, with a standard deviation of 8.
    assert all(35 < count[position] < 105 for position in range(140))
    # If all classes were shuffled alike, their drawn items would have the same places.
    assert len({position // 7 for position in k_shot(LABELS, 1, seed=0)}) > 3


@given(labelled, seeds, st.floats(0.01, 1))
def test_a_fraction_of_each_class(labels, seed, part):
    drawn = count_classes(labels, fraction(labels, part, seed=seed))
    assert drawn == {label: max(1, round(part * count)) for label, count in Counter(labels).items()}


DRAWS = {
    "k_shot": lambda labels, seed, **more: k_shot(labels, 3, seed=seed, **more),
    "at_most": lambda labels, seed, **more: at_most(labels, 3, seed=seed, **more),
    "k_shot_per_process": lambda labels, seed, **more: k_shot_per_process(labels, 2, processes=3, seed=seed, **more),
    "fraction": lambda labels, seed, **more: fraction(labels, 0.2, seed=seed, **more),
    "hold_out": lambda labels, seed, **more: hold_out(labels, 0.2, seed=seed, **more),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@given(seed=seeds, mixed=st.permutations(range(60)), grouped=st.booleans())
@settings(max_examples=30)
def test_the_order_of_the_items_does_not_matter(draw, seed, mixed, grouped):
    labels, names = [f"class {i // 20}" for i in range(60)], names_of(range(60))
    groups = [f"scene {i // 4}" for i in range(60)] if grouped else None

    def drawn(order: Sequence[int]) -> set[str]:
        own = [names[i] for i in order]
        options = {"groups": [groups[i] for i in order]} if groups and draw is DRAWS["hold_out"] else {}
        return {own[position] for position in draw([labels[i] for i in order], seed, names=own, **options)}

    assert drawn(mixed) == drawn(range(60))
    assert len({tuple(draw(LABELS, seed + i)) for i in range(5)}) == 5


@given(st.integers(0, 99), seeds)
@settings(max_examples=30)
def test_added_item_moves_at_most_one(gone, seed):
    labels, names = ["a"] * 100, names_of(range(100))
    before = {names[i] for i in k_shot(labels, 20, seed=seed)}
    del names[gone]
    after = {names[i] for i in k_shot(labels[1:], 20, names=names, seed=seed)}
    assert len(before - after) == len(after - before) == (f"{gone:03}.mp4" in before)


def test_another_process_draws_the_same():
    """Draws must not depend on string hashes, which differ between processes."""
    code = (
        "from texthead.data.splits import hold_out; from paper.class_draws import *\n"
        "from pathlib import Path; from texthead import Dataset, Item\n"
        "L = [f'class {i % 7}' for i in range(140)]; G = [f'g{i // 4}' for i in range(140)]\n"
        "D = Dataset(tuple(Item(Path(f'{i}.mp4'), (name,)) for i, name in enumerate(L)))\n"
        "print(*(d.paths for d in (D.k_shot(3, seed=5), D.at_most(3, seed=5), fraction(D, .2, seed=5))))\n"
        "print(hold_out(L, .2, names=D.item_names, groups=G, seed=5), unseen_classes(L[:7], 3, seed=5))\n"
        "print(k_shot_per_process(D, 2, processes=3, seed=5).paths, half_classes(7, 5))"
    )
    with contextlib.redirect_stdout(io.StringIO()) as here:
        exec(code, {})
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert there == here.getvalue() != ""


@given(st.lists(st.sampled_from("abc"), min_size=6, max_size=60), seeds, st.floats(0.05, 0.95))
def test_a_part_of_each_class_is_held_out(labels, seed, part):
    """None of a class with one item."""
    held = count_classes(labels, hold_out(labels, part, seed=seed))
    count = {label: items for label, items in Counter(labels).items() if items > 1}
    assert held == {label: min(items - 1, max(1, round(part * items))) for label, items in count.items()}


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 9)), min_size=4, max_size=60),
    seeds,
    st.floats(0.05, 0.95),
)
@settings(max_examples=300)
def test_groups_are_never_divided(pairs, seed, part):
    labels, groups = [label for label, _ in pairs], [group for _, group in pairs]
    held = hold_out(labels, part, seed=seed, groups=groups)
    assert held == sorted(set(held))
    stays = [position for position in range(len(labels)) if position not in set(held)]
    assert not {groups[i] for i in held} & {groups[i] for i in stays}
    # Every class has training items.
    assert {labels[i] for i in stays} == set(labels)


def test_groups_of_many_classes_held_out():
    labels, groups = [f"class {i // 20}" for i in range(100)], [f"scene {i // 5}" for i in range(100)]
    for seed in range(30):
        held = hold_out(labels, 0.25, seed=seed, groups=groups)
        assert count_classes(labels, held) == dict.fromkeys(labels, 5)
    # Class a has scenes 1 and 2, class b 2 and 3: holding out 1 (or 3) and then 2 would leave a (or b) empty.
    for seed in range(20):
        assert hold_out(["a", "a", "b", "b"], 0.5, seed=seed, groups=[1, 2, 2, 3]) in ([1, 2], [0, 3])
    # Groups that contain every class are held out for all classes at once.
    labels, groups = [c for c in "abcde" for _ in range(10)], list(range(10)) * 5
    held = hold_out(labels, 0.2, seed=0, groups=groups)
    assert len({groups[i] for i in held}) == 2
    assert count_classes(labels, held) == dict.fromkeys("abcde", 2)


def test_groups_that_stay_in_training():
    assert hold_out(["a", "a", "b", "b"], 0.5, seed=0, groups=[1, 2, 3, 3]) in ([0], [1]), "class b has one group"
    # Three classes share three scenes pairwise: after one is held out, each other is the last of a class.
    for seed in range(10):
        held = hold_out(["a", "a", "b", "b", "c", "c"], 0.5, seed=seed, groups=[1, 2, 2, 3, 3, 1])
        assert held in ([0, 5], [1, 2], [3, 4])


@given(st.integers(2, 50), st.data(), seeds)
def test_seen_and_unseen_are_disjoint_and_complete(count, data, seed):
    names = [f"class {i:02}" for i in range(count)]
    wanted = data.draw(st.integers(1, count - 1))
    seen, unseen = unseen_classes(names, wanted, seed=seed)
    assert len(unseen) == wanted
    assert sorted(seen + unseen) == names
    assert (sorted(seen), sorted(unseen)) == (seen, unseen)
    assert sorted(unseen_classes(names[::-1], wanted, seed=seed)[1]) == unseen, "the order does not matter"
    names = [f"class {i}" for i in range(40)]
    assert unseen_classes(names, 10, seed=seed) != unseen_classes(names, 10, seed=seed + 1)


@pytest.mark.parametrize(
    ("seed", "first"),
    [(0, [26, 86, 2, 55, 75, 94, 16, 73]), (1, [94, 78, 17, 100, 36, 85]), (2, [78, 30, 57, 24, 16, 23])],
)
def test_the_halves_are_those_of_the_published_code(seed, first):
    """The published code draws these first classes of UCF-101 with numpy's legacy generator."""
    assert half_classes(101, seed)[: len(first)] == first
