"""Compare the methods on a frozen encoder."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from texthead.data.dataset import Dataset, Item, splits_of
from texthead.data.division import divide
from texthead.data.labels import unbalanced_text, weighted_text
from texthead.data.reading import as_dataset
from texthead.encoders.load import AnyEncoder, EncoderOptions, zero_shot_note
from texthead.errors import PositiveInt, plural
from texthead.evaluation.results import Evaluation
from texthead.evaluation.summary import kind_text, sentence
from texthead.features.reading import ReadOptions
from texthead.media.paths import fingerprints
from texthead.parallel.caller import apart_from_caller
from texthead.parallel.progress import Reporter, silent
from texthead.transfer import methods
from texthead.transfer.experiment import Experiment, load_experiment


@dataclass(frozen=True, repr=False)
class MethodScores:
    """What a comparison measures.

    Attributes:
        experiment: what is compared, with its items.
        folds: the folds of the cross-validation.
        validated: the cross-validated evaluation of each method; empty if classes have one item each.
        tested: the evaluation of each method on the held-out items; empty without such items.
        lines: what to know about the labels' shares, the class names, the folds, the penalty and unlabelled files.
    """

    experiment: Experiment
    folds: methods.Folds
    validated: dict[str, Evaluation] = field(default_factory=dict)
    tested: dict[str, Evaluation] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    @property
    def scored_name(self) -> str:
        """The split of the held-out items."""
        return self.experiment.division.scored_name or "held out"

    @property
    def validated_on(self) -> Experiment:
        """The experiment on the items that are cross-validated."""
        return self.experiment.select(self.folds.scored)

    @property
    def columns(self) -> dict[str, dict[str, Evaluation]]:
        """The evaluation of each method, for each way of scoring that there is."""
        ways = {"cross-validated": self.validated, self.scored_name: self.tested}
        return {title: own for title, own in ways.items() if own}

    @property
    def metric(self) -> str:
        """What the rates are: top-1, or for multi-label data mAP."""
        return next((each.metric for own in self.columns.values() for each in own.values()), "top-1")

    @property
    def lead(self) -> methods.Lead | None:
        """The lead of the best other method over the default one, cross-validated; None if no other is ahead.

        Items are weighted as `class_shares` says.
        """
        own = self.validated_on
        return methods.best_alternative(self.validated, own.items.groups, own.weights) if self.validated else None

    def summary(self) -> list[str]:
        """Return the default's result in a line, and which other method is ahead of it in cross-validation."""
        scores, where = (self.tested, self.scored_name) if self.tested else (self.validated, "cross-validated")
        lines = [f"{name}: {sentence(own, where)}" for name, own in list(scores.items())[:1]]
        if not self.validated:
            return lines
        items, lead = self.experiment.items, self.lead
        how = f"{len(self.folds.pairs)} folds of {len(items.data)} {kind_text(items.data.paths)}"
        if len(set(items.groups)) < len(items.groups):
            few = "groups divided between folds, since there are too few"
            how += f", {'each group in one fold' if self.folds.grouped else few}"
        how += weighted_text(self.validated_on.weights)
        if lead is None or lead.low <= 0:
            clearly = "clearly " * (lead is not None)
            return [*lines, f"in cross-validation no method is {clearly}ahead of it ({how})"]
        points = f"{lead.points:.1f} points (95 % CI {lead.low:.1f} to {lead.high:.1f}; {how})"
        saved = f"in Python, `method={lead.rival}` of th.train saves it as a run"
        return [*lines, f"in cross-validation {lead.rival} is ahead of it by {points}; {saved}"]

    def __repr__(self) -> str:
        rates = (f"{title}: {name} {r.rate[0]:.1f}" for title, own in self.columns.items() for name, r in own.items())
        return f"MethodScores({self.metric} in percent, {', '.join(rates)})"


@apart_from_caller()
def compare(
    data: Dataset | str | Path,
    encoder: AnyEncoder = "mini",
    *,
    classes: str | None = None,
    k: PositiveInt | None = None,
    overrides: Mapping[str, Any] = MappingProxyType({}),
    unlabelled: str | None = None,
    reading: ReadOptions = ReadOptions(cache=True),
    planned: Callable[[Experiment], object] = silent,
    reporter: Reporter = Reporter(),
) -> MethodScores:
    """Score the methods on a frozen encoder side by side, as `texthead compare` does.

    Items are encoded once for all methods.

    Args:
        data: labelled items, or their source as for `read_dataset`; without splits, none are held out.
        encoder: an encoder, its name, or options that also say its template and device.
        classes: a file of class names or prompts for the labels, as in `read_classes`.
        k: training items drawn for each class; all if None.
        overrides: recipe values, such as frames, size, seed and class_shares.
        unlabelled: folder of files like those to predict; they refine the probes if they help.
        planned: gets what will be compared, before its items are encoded.
        reporter: gets progress and messages.

    Raises:
        DataError: a class has no readable training item, or no item can be read.
        MediaError: an item cannot be read, unless `reading` skips such items.
    """
    data = as_dataset(data)
    division = divide(data, seed=overrides.get("seed", 0), held_out=None if splits_of(data) else 0.0, k=k)
    experiment = load_experiment(division, EncoderOptions.from_encoder(encoder), classes, overrides, reading, reporter)
    planned(experiment)
    if division.val and division.scored_name == "test":
        reporter.note(f"{plural(len(division.val), 'val item')} {'is' if len(division.val) == 1 else 'are'} not used")
    names = experiment.methods
    experiment, lines = methods.suited(experiment, names, unlabelled)
    least, seed = methods.MIN_ITEMS, experiment.recipe.seed
    cv = methods.folds(experiment.items, seed=seed)
    if not cv.pairs:
        least, cv = 2, methods.folds(experiment.items, seed=seed, least=2)
    scores = MethodScores(experiment, cv)
    with reporter.bar("compare", "methods") as progress:
        for number, name in enumerate(names, 1):
            if cv.pairs:
                scores.validated[name] = methods.cross_validated(experiment, name, cv)
            if experiment.tests is not None:
                scores.tested[name] = experiment.evaluate(name)
            progress(number, len(names))
    counts = experiment.counts
    copies = _copies_text([*division.train.items, *division.scored.items])
    lines = [copies, unbalanced_text(experiment.recipe.class_shares, counts), *lines]
    if cv.pairs and min(counts, default=least) < least:
        few = f"{sum(count < least for count in counts)} of {len(counts)} classes have fewer"
        lines.append(f"{few} than {least} items: only the others are cross-validated")
    if not cv.pairs:
        lines.append("not cross-validated, which needs two classes with 2 or more items")
    if experiment.encoder.has_text:
        lines.append(methods.names_line(experiment.encoder, experiment.names, experiment.prompts, scores.tested))
        lines.append(zero_shot_note(experiment.encoder.source, experiment.names) or "")
    scores.lines.extend(filter(None, lines))
    return scores


def _copies_text(items: Sequence[Item]) -> str:
    """Return a line on files that are copies of others; empty if there are none, or each is in the group of its own."""
    contents = fingerprints([item.path for item in items])
    groups = defaultdict[str, set[str]](set)
    for content, item in zip(contents, items, strict=True):
        groups[content].add(item.group_key)
    count = sum(content != "" and len(groups[content]) > 1 for content in contents)
    remedy = "so scores are optimistic: keep one of each (doctor finds them)"
    return f"{count} of {len(items)} items are copies of one another, {remedy}" if count else ""
