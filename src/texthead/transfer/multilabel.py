"""Heads for multi-label data, where each class is a binary label: fit, probabilities, thresholds."""

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from texthead.encoders.encoder import Encoder
from texthead.models.heads import TEXT_AND_ITEMS, CosineHead, Head, ProbeHead, Prompts, text_head
from texthead.models.multilabel_head import MultiLabelHead, log_odds_fit
from texthead.recipes import MethodName
from texthead.transfer.linear_probes import (
    RIDGE,
    TEXT_SHARE,
    one_thread,
    probe_of,
    short_rows,
    span,
    units,
    weigh_scales,
)

# Fraction of their mean that is subtracted from the text rows: what all names have in common tells few classes apart.
COMMON = 0.5

# Factor of standardised scores to log-odds before any item.
FACTOR = 3.0

# Share of its own log-odds among the labelled items that a class starts from; the rest is their mean over classes.
START = 0.5

# Folds of the cross-validation, at most.
MAX_FOLDS = 5


@one_thread
def fit_multilabel(
    name: MethodName,
    encoder: Encoder,
    names: Sequence[str],
    prompts: Prompts,
    features: Float[Tensor, "items dim"],
    multi_hot: Bool[Tensor, "items classes"],
    groups: Sequence[Hashable],
) -> MultiLabelHead:
    """Fit the head of a method; probabilities and the threshold come from items that are left out, group by group.

    Args:
        names: the head's class names, the labels.
        prompts: the prompts of each class; not used by "probe".
        multi_hot: whether each item has each class.
        groups: the group of each item, which is left out as a whole.

    Raises:
        EncoderError: the method needs text, and the encoder has none.
    """
    if name in ("zero-shot", "zero-shot-centered"):
        head = text_head(encoder, names, prompts=prompts, center=features.mean(0) if name != "zero-shot" else None)
        if name == "zero-shot-centered" or not encoder.bias:
            return as_multilabel(head, features, multi_hot)
        return _with_threshold(head, _scores(head, features) + encoder.bias, multi_hot.numpy(), encoder.bias)
    rows = None if name == "probe" else encoder.familiarity_scaled_rows(names, prompts)
    head, scores = _fit(rows, features, multi_hot, groups, names=names)
    fitted = _calibrated(head, scores, multi_hot.numpy(), 1.0, 0.0)
    if name == "probe":
        fitted.thresholds[~multi_hot.any(0)] = 0.0
    return fitted


@one_thread
def as_multilabel(
    head: Head,
    features: Float[Tensor, "items dim"],
    multi_hot: Bool[Tensor, "items classes"],
    *,
    keep_scale: bool = False,
) -> MultiLabelHead:
    """Return a head that was not fitted to the items, with the log-odds and the threshold that suit them best.

    Args:
        keep_scale: fit only the bias, with which as many labels are expected as the items have.
    """
    scores, targets = _scores(head, features), multi_hot.numpy()
    if keep_scale:
        from scipy.optimize import brentq
        from scipy.special import expit

        share, far = _shares(targets).mean(), 40.0
        ends = (-scores.max() - far, far - scores.min())
        bias = float(brentq(lambda bias: expit(scores + bias).mean() - share, *ends))  # pyright: ignore[reportArgumentType]
        return _with_threshold(head, scores + bias, targets, bias)
    return _calibrated(head, scores, targets, FACTOR / max(scores.std(), 1e-12), _log_odds(targets).mean())


@one_thread
def multilabel_head(
    rows: Float[Tensor, "classes dim"] | None,
    features: Float[Tensor, "items dim"],
    multi_hot: Bool[Tensor, "items classes"],
    *,
    names: Sequence[str],
) -> ProbeHead:
    """Fit a linear classifier to multi-label items, with the text rows t_c as a prior.

    It minimises |Y - r x t - x A - b|^2 + RIDGE |A|^2, where x are the features, Y the labels as 0 and 1, and r =
    TEXT_SHARE x weight x least-squares slope of Y on x t, the same for all classes. The weight is the probability that
    the names help, as in `text_evidence`, but by the likelihood of the items of each class among all items. A class
    without items has its name, and the items that are not of it.

    The scores are rough log-odds: FACTOR x the estimate of Y, in standard deviations of the class's labels from their
    mean, plus START x the class's log-odds among the items and (1 - START) x their mean over classes.

    Args:
        rows: text rows, as in `text_probe_head`; None for a fit without names.
    """
    return _fit(rows, features, multi_hot, range(len(multi_hot)), names=names)[0]


def _fit(
    rows: Float[Tensor, "classes dim"] | None,
    features: Float[Tensor, "items dim"],
    multi_hot: Bool[Tensor, "items classes"],
    groups: Sequence[Hashable],
    *,
    names: Sequence[str],
) -> tuple[ProbeHead, Float[np.ndarray, "items classes"]]:
    """Return (the head of `multilabel_head`, each item's scores when its group is left out but for its text).

    Source: the smoother matrix S of ridge regression gives these residuals as (I - S_gg)^-1 e_g for a group g.
    """
    from scipy.special import log_softmax

    center = features.mean(0)
    x, targets = units(features - center), multi_hot.double().numpy()
    weight, kind = np.zeros((len(names), x.shape[1])), "logistic"
    if rows is not None:
        text = short_rows(rows)
        own = text - COMMON * text.mean(0)
        prior = x @ own.T
        helps = weigh_scales(text, lambda scale: float((targets * log_softmax(scale * prior, axis=0)).sum())).weight
        around = prior - prior.mean(0)
        slope = max(0.0, float((targets * around).sum() / max((around**2).sum(), 1e-12)))
        weight, kind = TEXT_SHARE * helps * slope * own, TEXT_AND_ITEMS if helps > 0.5 else "items"
    z, axes = span(x)
    z -= z.mean(0)
    half = np.linalg.solve(z.T @ z + RIDGE * np.eye(len(axes)), z.T)
    weight = weight + (half @ (targets - x @ weight.T)).T @ axes
    bias = (targets - x @ weight.T).mean(0)
    residual, numbers = targets - x @ weight.T - bias, {group: list[int]() for group in groups}
    for item, group in enumerate(groups):
        numbers[group].append(item)
    for own in numbers.values() if len(numbers) > 1 else ():
        rest = np.eye(len(own)) - 1 / len(z) - z[own] @ half[:, own]
        residual[own] = np.linalg.solve(rest, residual[own])
    shares, start = _shares(targets), _log_odds(targets)
    scale, shift = FACTOR / np.sqrt(shares * (1 - shares)), START * start + (1 - START) * start.mean()
    head = probe_of(scale[:, None] * weight, scale * (bias - shares) + shift, center, names, kind)
    return head, scale * (targets - residual - shares) + shift


def _shares(targets: np.ndarray) -> Float[np.ndarray, " classes"]:
    """Return the fraction of each class's items, as if half of one more item had it: never 0 or 1."""
    return (targets.sum(0) + 0.5) / (len(targets) + 1)


def _log_odds(targets: np.ndarray) -> Float[np.ndarray, " classes"]:
    return np.log(_shares(targets) / (1 - _shares(targets)))


@torch.inference_mode()
def _scores(head: Head, features: Float[Tensor, "items dim"]) -> Float[np.ndarray, "items classes"]:
    return head.eval()(features.to(head.weight.device)).cpu().double().numpy()


# --- probabilities and thresholds


def _calibrated(
    head: Head,
    scores: Float[np.ndarray, "items classes"],
    targets: Bool[np.ndarray, "items classes"],
    factor: float,
    bias: float,
) -> MultiLabelHead:
    """Return the head with log-odds = factor x score + bias, the most probable for the items, and with a threshold.

    Args:
        scores: of items that the head was not fitted to.
        factor, bias: the expected ones, which are kept if there is no positive item.
    """
    ratio, bias = log_odds_fit(factor * scores, targets, bias)
    factor *= ratio
    with torch.no_grad():
        if isinstance(head, CosineHead):
            head.log_scale.add_(float(np.log(factor)))
        else:
            head.weight.mul_(factor)
        if isinstance(head, ProbeHead):
            head.bias.mul_(factor)
    return _with_threshold(head, factor * scores + bias, targets, bias)


def _with_threshold(
    head: Head, log_odds: Float[np.ndarray, "items classes"], targets: Bool[np.ndarray, "items classes"], bias: float
) -> MultiLabelHead:
    """Return the head with the bias and the threshold for the items with these log-odds."""
    full = torch.ones(len(head.names), device=head.weight.device)
    fitted = MultiLabelHead(head, bias=bias * full, thresholds=full)
    fitted.set_threshold(torch.from_numpy(log_odds), torch.from_numpy(targets))
    return fitted


# --- folds


def multilabel_folds(
    multi_hot: Bool[np.ndarray, "items classes"], groups: Sequence[Hashable], *, seed: int
) -> list[tuple[list[int], list[int]]]:
    """Return (training positions, scored positions) of up to five folds with about the same fraction of each class.

    Groups stay whole. A class in two groups or more has an item in each training fold: a group that would take the last
    one away is in all training folds, and never scored. There are no folds if no class is in two groups. The folds
    depend on the groups' names, not on the order of the items.

    Source: iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML 2011), of groups.
    """
    keys = sorted(set(groups), key=str)
    number = {key: i for i, key in enumerate(keys)}
    group_of = np.array([number[group] for group in groups])
    # The last column counts all items, so that groups without a label are divided too.
    counts = np.zeros((len(keys), multi_hot.shape[1] + 1))
    np.add.at(counts, group_of, np.column_stack([multi_hot, np.ones(len(multi_hot))]))
    held = counts[:, :-1] > 0
    folds = min(MAX_FOLDS, len(keys))
    if held.sum(0).max(initial=0) < 2:
        return []
    room, fold_of = np.repeat(counts.sum(0)[None] / folds, folds, axis=0), np.full(len(keys), -1)
    left = np.random.default_rng(seed).permutation(len(keys))
    while len(left):
        items = counts[left].sum(0)
        rarest = int(np.where(items > 0, items, np.inf).argmin())
        for group in left[counts[left, rarest] > 0]:
            fold_of[group] = max(range(folds), key=lambda fold: (room[fold, rarest], room[fold, -1]))
            room[fold_of[group]] -= counts[group]
        left = left[fold_of[left] < 0]
    # How many groups have each class: in all, and in each fold.
    total, own = held.sum(0), np.stack([held[fold_of == each].sum(0) for each in range(folds)])
    for group, fold in enumerate(fold_of):
        if (held[group] & (total > 1) & (own[fold] == total)).any():
            fold_of[group] = -1
            own[fold] -= held[group]
    fold = fold_of[group_of]
    pairs = [(np.flatnonzero(fold != each).tolist(), np.flatnonzero(fold == each).tolist()) for each in range(folds)]
    return [(train, scored) for train, scored in pairs if scored]
