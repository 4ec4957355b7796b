"""What to label next: one file of each cluster first, no near copies, spread over groups, deterministic."""

from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from made import noise
from texthead.apps.label import selection
from texthead.apps.label.selection import Similarities, class_probabilities, margin_uncertainty

CLASSES, DIM = 6, 48
MEANS = 3 * noise(CLASSES, DIM, seed=9)


def clouds(each: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return features of files around the class means, and their classes, in random order."""
    targets = torch.arange(CLASSES).repeat_interleave(each)[
        torch.from_numpy(np.random.default_rng(3).permutation(CLASSES * each))
    ]
    return MEANS[targets] + 0.7 * noise(len(targets), DIM, seed=seed), targets


def alike(files: int) -> Tensor:
    return torch.full((files, CLASSES), 1 / CLASSES)


def next_to_label(features, probabilities, labelled, count, **how):
    return Similarities(features, labelled, **how).suggest(probabilities, labelled, count)


def test_the_first_are_one_of_each_cluster() -> None:
    features, targets = clouds(20)
    first = next_to_label(features, alike(len(features)), [], CLASSES)
    assert sorted(targets[first].tolist()) == list(range(CLASSES))
    assert next_to_label(features, alike(len(features)), [], CLASSES) == first
    # Clusters without labels come first.
    known = np.flatnonzero(targets.numpy() < CLASSES - 1).tolist()
    assert int(targets[next_to_label(features, alike(len(features)), known[:80], 1)]) == CLASSES - 1


def test_uncertain_cluster_comes_first() -> None:
    features, targets = clouds(20)
    sure = F.one_hot(targets, CLASSES).float()
    sure[targets == 2] = 1 / CLASSES
    assert margin_uncertainty(sure)[targets != 2].max() == 0
    assert int(targets[next_to_label(features, sure, [], 1)]) == 2


def test_copies_and_files_of_a_group_come_last() -> None:
    features, _ = clouds(5)
    doubled = torch.cat([features, features + 1e-4])
    order = next_to_label(doubled, alike(len(doubled)), [], len(doubled))
    assert sorted(order) == list(range(len(doubled)))
    assert len({index % len(features) for index in order[: len(features)]}) == len(features)
    groups = [index % 3 for index in range(len(features))]
    grouped = next_to_label(features, alike(len(features)), [], 6, groups=groups)
    assert Counter(groups[index] for index in grouped) == {0: 2, 1: 2, 2: 2}


def test_large_pools_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "MAX_FILES", 60)
    features, _ = clouds(40)
    chosen = next_to_label(features, alike(len(features)), list(range(100)), 5, seed=1)
    assert not set(chosen) & set(range(100))
    assert chosen == next_to_label(features, alike(len(features)), list(range(100)), 5, seed=1)
    assert chosen != next_to_label(features, alike(len(features)), list(range(100)), 5, seed=2)


def test_guesses_come_from_names_then_from_labels() -> None:
    features, targets = clouds(20)
    rows = MEANS - MEANS.mean(0)
    none = class_probabilities(rows, features, [], targets[:0], classes=CLASSES)
    assert (none.argmax(1) == targets).float().mean() > 0.9
    # Labels overrule text that swaps the first two classes.
    wrong = rows[[1, 0, 2, 3, 4, 5]]
    known = np.concatenate([np.flatnonzero(targets.numpy() == label)[:4] for label in range(CLASSES - 1)]).tolist()
    result = class_probabilities(wrong, features, known, targets[known], classes=CLASSES)
    assert torch.allclose(result.sum(1), torch.ones(len(result)), atol=1e-5)
    labelled = targets < CLASSES - 1
    assert (result.argmax(1) == targets)[labelled].float().mean() > 0.9
    # The last class has no label: text alone finds it.
    assert (result.argmax(1) == targets)[~labelled].float().mean() > 0.5
    # Unknown names count for less.
    lengths = torch.tensor([1.0] * (CLASSES - 1) + [0.1])[:, None]
    full, shorter = (
        class_probabilities(length * F.normalize(rows, dim=-1), features, known, targets[known], classes=CLASSES)
        for length in (1.0, lengths)
    )
    assert shorter[~labelled, -1].mean() < full[~labelled, -1].mean()
    # Without text and labels, all classes are equally likely.
    assert torch.allclose(class_probabilities(None, features, [], targets[:0], classes=CLASSES), alike(len(features)))
    assert (class_probabilities(None, features, known, targets[known], classes=CLASSES)[:, -1]).mean() < 0.5


def test_guesses_of_several_labels_are_answers_of_their_own() -> None:
    """Files of two clouds at once have both of their classes."""
    one, two = (torch.from_numpy(np.random.default_rng(seed).permutation(120) % CLASSES) for seed in (1, 2))
    features = MEANS[one] + MEANS[two] + 0.7 * noise(120, DIM)
    hot = F.one_hot(one, CLASSES).bool() | F.one_hot(two, CLASSES).bool()
    rows, known = F.normalize(MEANS - MEANS.mean(0), dim=-1), list(range(40))
    result = class_probabilities(rows, features, known, hot[known], classes=CLASSES)
    assert ((result >= 0.5) == hot)[40:].float().mean() > 0.9
    assert (result[40:].sum(1) > 1.5).float().mean() > 0.5
    none = class_probabilities(rows, features, [], hot[:0], classes=CLASSES)
    assert torch.equal(none, class_probabilities(rows, features, [], one[:0], classes=CLASSES)), (
        "zero-shot before the first label"
    )
    nothing = class_probabilities(rows, features, known, torch.zeros(40, CLASSES, dtype=torch.bool), classes=CLASSES)
    assert nothing.max() < 0.5


def test_the_least_certain_answer_counts() -> None:
    probabilities = torch.tensor([[0.99, 0.98], [0.01, 0.9], [0.0, 0.45], [0.5, 0.5]])
    expected = torch.tensor([0.04, 0.2, 0.9, 1.0])
    assert torch.allclose(margin_uncertainty(probabilities, multilabel=True), expected)
    assert torch.allclose(margin_uncertainty(probabilities[:, 1:], multilabel=True), expected)
    features, targets = clouds(20)
    sure = torch.full((len(features), CLASSES), 0.001)
    sure[targets == 2, 4] = 0.5
    assert int(targets[next_to_label(features, sure, [], 1, multilabel=True)]) == 2
