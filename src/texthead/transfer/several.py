"""Heads for files with several labels, where each class is a yes-or-no question: fit, probabilities, thresholds."""

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from texthead.encoders.encoder import Encoder
from texthead.errors import EncoderError
from texthead.models.head_rows import known_rows
from texthead.models.heads import TEXT_AND_ITEMS, CosineHead, Head, ProbeHead, Prompts, text_head
from texthead.models.several_head import SeveralHead
from texthead.recipes import MethodName
from texthead.transfer.closed_form import (
    STRENGTH,
    TEXT_SHARE,
    Loss,
    TextEvidence,
    probe_of,
    short_rows,
    solve_logistic,
    span,
    units,
    weigh_scales,
)

# Folds of the cross-validation, at most.
FOLDS = 5

# Standard deviation, before any item, of the factor that turns scores into log-odds.
FACTOR_SPREAD = 0.5


def fit_several(
    name: MethodName,
    encoder: Encoder,
    names: Sequence[str],
    prompts: Prompts | None,
    features: Float[Tensor, "items dim"],
    hot: Bool[Tensor, "items classes"],
    groups: Sequence[Hashable],
    *,
    penalty: float = 1.0,
    seed: int = 0,
) -> SeveralHead:
    """Fit the head of a method; probabilities and thresholds come from cross-validated items.

    Args:
        names: the head's class names, the labels.
        prompts: the prompts of each class; not used by "probe".
        hot: whether each item has each class.
        groups: the group of each item, which stays in one fold.
        penalty: factor of the penalty of a probe.
        seed: of the folds.

    Raises:
        EncoderError: the method needs text, and the encoder has none.
    """
    if name != "probe" and (prompts is None or not encoder.has_text):
        raise EncoderError(f"{encoder.source!r} has no text encoder: use method='probe'")
    if name in ("zero-shot", "zero-shot-centred"):
        assert prompts is not None
        center = features.mean(0) if name == "zero-shot-centred" else None
        head = text_head(encoder, names, prompts=prompts, center=center)
        scores = _scores(head, features)
        if encoder.bias and center is None:
            return SeveralHead(head, bias=torch.full((len(names),), encoder.bias), thresholds=torch.zeros(len(names)))
        return _calibrated(head, scores, hot.numpy())
    rows = None if name == "probe" or prompts is None else known_rows(encoder, names, prompts)
    head = several_head(rows, features, hot, names=names, penalty=penalty)
    scores = np.full(tuple(hot.shape), np.nan)
    for train, scored in several_folds(hot.numpy(), groups, seed=seed):
        fold = several_head(rows, features[train], hot[train], names=names, penalty=penalty)
        unknown = ~hot[train].any(0).numpy()
        scores[scored] = np.where(unknown, np.nan, _scores(fold, features[scored]))
    return _calibrated(head, scores, hot.numpy())


def several_head(
    rows: Float[Tensor, "classes dim"] | None,
    features: Float[Tensor, "items dim"],
    hot: Bool[Tensor, "items classes"],
    *,
    names: Sequence[str],
    penalty: float = 1.0,
) -> ProbeHead:
    """Fit a logistic regression for each class, with the text rows t_c as a prior.

    It minimises cross-entropy + |w_c - s t_c|^2 / (2 STRENGTH), summed over classes, where s = TEXT_SHARE x weight x
    scale is the same for all classes, with the `several_evidence` for the names. An extra item at the center, half of
    each class, keeps the biases finite: a class without items gets its text row and low scores.

    Args:
        rows: text rows, as in `text_probe_head`; None for a fit without names.
        penalty: factor of the penalty.
    """
    center = features.mean(0)
    x, targets = units(features - center), hot.double().numpy()
    text = np.zeros((len(names), x.shape[1])) if rows is None else short_rows(rows)
    evidence = TextEvidence(0.0, 0.0) if rows is None else several_evidence(text, x, targets)
    z, axes = span(x)
    z, targets = (np.concatenate([each, np.full_like(each[:1], extra)]) for each, extra in ((z, 0.0), (targets, 0.5)))
    share = targets.mean(0)
    prior = TEXT_SHARE * evidence.weight * evidence.scale * text
    weight, bias = solve_logistic(z, axes, prior, STRENGTH / penalty, sigmoid_loss(targets), share * (1 - share))
    kind = "logistic" if rows is None else TEXT_AND_ITEMS if evidence.weight > 0.5 else "items"
    return probe_of(weight, bias, center, names, kind)


def several_evidence(
    text: Float[np.ndarray, "classes dim"],
    x: Float[np.ndarray, "items dim"],
    targets: Float[np.ndarray, "items classes"],
) -> TextEvidence:
    """Weigh zero-shot with a fitted bias per class against names that tell nothing, as `text_evidence` does."""
    scores, share = x @ text.T, targets.mean(0)
    z, axes, loss = np.zeros((len(x), 0)), np.zeros((0, x.shape[1])), sigmoid_loss(targets)

    def log_likelihood(scale: float) -> float:
        bias = solve_logistic(z, axes, text, 1.0, lambda biases: loss(scale * scores + biases), share * (1 - share))[1]
        return -loss(scale * scores + bias)[0]

    return weigh_scales(text, log_likelihood)


def sigmoid_loss(targets: Float[np.ndarray, "items classes"]) -> Loss:
    """Return the binary cross-entropy summed over items and classes, and its gradient, as a function of the scores."""
    from scipy.special import expit

    return lambda scores: (float((np.logaddexp(0, scores) - targets * scores).sum()), expit(scores) - targets)


# --- probabilities and thresholds


def _calibrated(
    head: CosineHead | ProbeHead, scores: Float[np.ndarray, "items classes"], hot: Bool[np.ndarray, "items classes"]
) -> SeveralHead:
    """Return the head with log-odds and thresholds.

    Args:
        scores: of items that the head was not fitted to; NaN where there is none.
    """
    known = np.isfinite(scores) & (np.count_nonzero(hot, axis=0) > 1)
    factor, bias, threshold = 1.0, 0.0, 0.0
    if hot[known].any():
        own, targets = scores[known][:, None], hot[known].astype(float)[:, None]
        share, one = targets.mean(), np.ones((1, 1))
        weight, biases = solve_logistic(own, one, one, FACTOR_SPREAD**2, sigmoid_loss(targets), share * (1 - share))
        factor, bias = float(weight[0, 0]), float(biases[0])
        threshold = best_threshold(factor * own[:, 0] + bias, targets[:, 0] > 0)
    if isinstance(head, CosineHead):
        head.log_scale.data += float(np.log(factor))
    else:
        head.weight.data *= factor
        head.bias.data *= factor
    full = torch.ones(len(head.names))
    return SeveralHead(head, bias=bias * full, thresholds=threshold * full)


def best_threshold(scores: Float[np.ndarray, " some"], right: Bool[np.ndarray, " some"]) -> float:
    """Return the score from which on items are positive at the highest F1."""
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(right[order])
    best = int((found / (np.arange(1, len(order) + 1) + right.sum())).argmax())
    return float(scores[order][best : best + 2].mean())


def several_folds(
    hot: Bool[np.ndarray, "items classes"], groups: Sequence[Hashable], *, seed: int
) -> list[tuple[list[int], list[int]]]:
    """Return (training positions, scored positions) of up to five folds with about the same share of each class.

    Groups stay whole. A class in two groups or more has an item in each training fold: a group that would take the last
    one away is in all training folds, and never scored. There are no folds if no class is in two groups. The folds
    depend on the groups' names, not on the order of the items.

    Source: iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML 2011), of groups.
    """
    keys = sorted(set(groups), key=str)
    number = {key: i for i, key in enumerate(keys)}
    group_of = np.array([number[group] for group in groups])
    counts = np.zeros((len(keys), hot.shape[1] + 1))
    np.add.at(counts, group_of, np.column_stack([hot, np.ones(len(hot))]))
    held = (counts[:, :-1] > 0).sum(0)
    folds = min(FOLDS, len(keys))
    if held.max(initial=0) < 2:
        return []
    # The last column counts all items: groups without a label are divided by it.
    room, fold_of = np.repeat(counts.sum(0)[None] / folds, folds, axis=0), np.full(len(keys), -1)
    order = np.random.default_rng(seed).permutation(len(keys))
    while len(order):
        left = counts[order].sum(0)
        column = int(np.where(left > 0, left, np.inf).argmin())
        for group in order[counts[order, column] > 0]:
            fold_of[group] = max(range(folds), key=lambda fold: (room[fold, column], room[fold, -1]))
            room[fold_of[group]] -= counts[group]
        order = order[fold_of[order] < 0]
    for group in range(len(keys)):
        others = counts[fold_of != fold_of[group], :-1].sum(0)
        if (others[(counts[group, :-1] > 0) & (held > 1)] == 0).any():
            fold_of[group] = -1
    fold = fold_of[group_of]
    pairs = [(np.flatnonzero(fold != each).tolist(), np.flatnonzero(fold == each).tolist()) for each in range(folds)]
    return [(train, scored) for train, scored in pairs if scored]


@torch.inference_mode()
def _scores(head: Head, features: Float[Tensor, "items dim"]) -> Float[np.ndarray, "items classes"]:
    return head.eval()(features).double().numpy()


def as_several(head: Head, features: Float[Tensor, "items dim"], hot: Bool[Tensor, "items classes"]) -> SeveralHead:
    """Return a head before fine-tuning, its scores scaled and shifted to the log-odds that suit the items best."""
    several = _calibrated(head, _scores(head, features), hot.numpy())
    several.thresholds.zero_()
    return several
