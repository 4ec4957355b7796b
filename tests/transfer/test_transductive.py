"""Unlabelled files: gains where classes form clusters, little harm where they do not, deterministic."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from made import noise
from texthead.models.heads import ProbeHead
from texthead.transfer.transductive import refine, refined_head

CLASSES, DIM = 5, 32
NAMES = [f"class {label}" for label in range(CLASSES)]


def clouds(each: int, spread: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return items around the class means, in class order, and their labels."""
    targets = torch.arange(CLASSES).repeat_interleave(each)
    return 2 * noise(CLASSES, DIM, seed=9)[targets] + spread * noise(len(targets), DIM, seed=seed) + 5, targets


def fitted(features: torch.Tensor, targets: torch.Tensor) -> ProbeHead:
    """Return a head of the class means."""
    center = features.mean(0)
    sums = torch.zeros(CLASSES, DIM).index_add(0, targets, F.normalize(features - center, dim=-1))
    return ProbeHead(10 * F.normalize(sums, dim=-1), bias=torch.zeros(CLASSES), center=center, names=NAMES)


def top1(scores: torch.Tensor, targets: torch.Tensor) -> float:
    return 100 * float((scores.argmax(1) == targets).float().mean())


@pytest.mark.parametrize("k", [1, 2])
def test_clusters_improve_few_labels(k: int) -> None:
    gains, later = [], []
    tests, truth = clouds(60, 3.0, seed=77)
    for seed in range(10):
        (items, targets), (files, own) = clouds(k, 3.0, seed), clouds(40, 3.0, seed + 50)
        head = fitted(items, targets)
        refined = refined_head(head, files, items, targets)
        gains.append(top1(refined(files), own) - top1(head(files), own))
        later.append(top1(refined(tests), truth) - top1(head(tests), truth))
    assert np.mean(gains) > 5
    assert min(gains) > 0
    assert np.mean(later) > 5, "files that are not of the batch"


def test_random_features_keep_good_head() -> None:
    items, targets = noise(CLASSES * 8, DIM, seed=3), torch.arange(CLASSES * 8) % CLASSES
    truth = torch.arange(100) % CLASSES
    scores = 4.0 * F.one_hot(truth, CLASSES) + 0.5 * noise(100, CLASSES, seed=4)
    x, seen = F.normalize(noise(100, DIM, seed=5), dim=-1), F.normalize(items, dim=-1)
    rows = noise(CLASSES, DIM, seed=6)
    assert top1(scores, truth) == 100
    assert top1(refine(scores, x, rows, seen, targets).scores, truth) == 100
    assert top1(refine(scores, x, rows).scores, truth) == 100, "nor without labelled items"


def test_many_labels_keep_head() -> None:
    files, _ = clouds(4, 2.0, seed=1)
    changes = []
    for k in (2, 200):
        items, targets = clouds(k, 2.0, seed=0)
        head = fitted(items, targets)
        x, seen = head.directions(files), head.directions(items)
        scores = head(files).detach()
        moved = refine(scores, x, head.weight.detach(), seen, targets).scores - scores
        changes.append(float(moved.square().mean() / scores.var()))
    assert changes[1] < changes[0] / 50


def test_refined_scores_equal_linear_head() -> None:
    (items, targets), (files, _) = clouds(2, 1.0, seed=0), clouds(20, 1.0, seed=1)
    head = fitted(items, targets)
    x = head.directions(files)
    result = refine(head(files).detach(), x, head.weight.detach(), head.directions(items), targets)
    again = refine(head(files).detach(), x, head.weight.detach(), head.directions(items), targets)
    assert all(torch.equal(one, other) for one, other in zip(result[:3], again[:3], strict=True))
    refined = refined_head(head, files, items, targets)
    torch.testing.assert_close(refined(files).detach(), result.scores, atol=1e-4, rtol=1e-4)
    assert refined.names == head.names
    assert torch.equal(refined.directions(files), x)
    # Scaling the scores changes nothing else: the densities adopt the scale.
    louder = refine(7 * head(files).detach(), x, head.weight.detach(), head.directions(items), targets)
    torch.testing.assert_close(louder.scores / 7, result.scores, atol=1e-4, rtol=1e-4)


def test_never_predicted_class_changes_nothing() -> None:
    (items, targets), (files, _) = clouds(2, 1.0, seed=0), clouds(20, 1.0, seed=1)
    head = fitted(items, targets)
    x, seen, scores = head.directions(files), head.directions(items), head(files).detach()
    wider = torch.cat([scores[:, :2], torch.full((len(scores), 1), -torch.inf), scores[:, 2:]], dim=1)
    rows = head.weight.detach()
    wider_rows = torch.cat([rows[:2], noise(1, DIM), rows[2:]])
    result = refine(wider, x, wider_rows, seen, targets + (targets >= 2))
    assert (result.scores[:, 2] == -torch.inf).all()
    present = [0, 1, 3, 4, 5]
    torch.testing.assert_close(result.scores[:, present], refine(scores, x, rows, seen, targets).scores)


@pytest.mark.parametrize("present", [(1, 3), (0, 1, 2, 3, 4)])
def test_absent_classes_take_no_files(present: tuple[int, ...]) -> None:
    gains = []
    for seed in range(10):
        (items, targets), (files, own) = clouds(1, 2.4, seed), clouds(40, 2.4, seed + 50)
        here = torch.isin(own, torch.tensor(present))
        head, files, own = fitted(items, targets), files[here], own[here]
        scores, x = head(files).detach(), head.directions(files)
        result = refine(scores, x, head.weight.detach())
        gains.append(top1(result.scores, own) - top1(scores, own))
        assert (f"of {CLASSES} classes seem to occur in the {len(files)} files" in result.note()) == (
            len(present) < CLASSES
        )
    assert np.mean(gains) > 2
    assert min(gains) >= 0


def test_rare_classes_count_as_less_likely() -> None:
    own = torch.tensor([0] * 97 + [1, 2, 3, 4])
    rows = F.normalize(noise(CLASSES, DIM), dim=-1)
    x = F.normalize(rows[own] + 0.1 * noise(len(own), DIM, seed=1), dim=-1)
    note = refine(10 * x @ rows.T, x, rows).note()
    assert note == f"{CLASSES} of {CLASSES} classes seem to occur in the 101 files; rare ones count as less likely"


@pytest.mark.parametrize("files", [1, 2, 10])
def test_few_files_change_nothing(files: int) -> None:
    scores, x = F.one_hot(torch.arange(files) % CLASSES, CLASSES).float(), F.normalize(noise(files, DIM), dim=-1)
    result = refine(scores, x, noise(CLASSES, DIM))
    torch.testing.assert_close(result.scores, scores)
    assert f"{files} files are too few" in result.note()
    one = refine(scores[:, :1], x, noise(1, DIM)).scores
    torch.testing.assert_close(one, scores[:, :1])
