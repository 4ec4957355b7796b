"""An experiment: divided items, a frozen encoder, class names and a recipe; heads are fitted and scored on it."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Float

from texthead.data.division import Division
from texthead.data.labels import item_weights, log_ratio
from texthead.encoders.encoder import Encoder
from texthead.encoders.load import EncoderOptions
from texthead.errors import DataError, MediaError
from texthead.evaluation.results import Evaluation, evaluation_for
from texthead.features.frozen import FrozenEncoder, FrozenFiles, FrozenItems
from texthead.features.reading import ReadOptions, engines_text
from texthead.models.heads import Head, text_head
from texthead.parallel.progress import Reporter
from texthead.recipes import OF_FROZEN, MethodName, Recipe, small
from texthead.text.prompts import class_prompts, classes_to_train
from texthead.training.adapt_recipe import adapt_recipe
from texthead.transfer.linear_probes import class_center, logistic_head, text_probe_head
from texthead.transfer.multilabel import fit_multilabel
from texthead.transfer.transductive import refined_head

# Default number of frames per video.
QUICK_FRAMES = 4


@dataclass(frozen=True, eq=False)
class Experiment:
    """All that the methods share. Items are encoded once, when they are first needed.

    Args:
        division: the items for training and for scoring.
        frozen: the encoder, and how it sees the items.
        labels: the labels, in the order of a head's rows.
        names: the class name of each label.
        sentences: for each label its own prompts, or None for the recipe's template.
        recipe: the recipe of the run; `class_shares` is used in every fit.
        changes: a line for each recipe value that the data changed.
        engines: the engines that computed the features.
        unlabelled: unlabelled files, which refine the fitted probes.
        penalty: factor of the penalty of each fitted probe; 1 if it has none here.
    """

    division: Division
    frozen: FrozenEncoder
    labels: tuple[str, ...]
    names: Sequence[str]
    sentences: Sequence[str | Sequence[str] | None]
    recipe: Recipe
    changes: Sequence[str] = ()
    engines: set[str] = field(default_factory=set)
    unlabelled: FrozenFiles | None = None
    penalty: Mapping[MethodName, float] = field(default_factory=dict)

    def changed(self, **values: Any) -> "Experiment":
        """Return the experiment with other values (also `items` or `tests`), and with the features that it has."""
        encoded = {name: value for name, value in {**vars(self), **values}.items() if name in ("items", "tests")}
        other = replace(self, **{name: value for name, value in values.items() if name not in encoded})
        vars(other).update(encoded)
        return other

    def select(self, train: Sequence[int], scored: Sequence[int] = ()) -> "Experiment":
        """Return an experiment on training items at these positions, scored on others of them, as in a fold."""
        return self.changed(items=self.items.select(train), tests=self.items.select(scored) if scored else None)

    @cached_property
    def items(self) -> FrozenItems:
        """The readable training items.

        Raises:
            DataError: a class has no readable training item, or no item can be read.
            MediaError: a file cannot be read, unless the encoder's reading skips such files.
        """
        items = self.frozen.items(self.division.train, self.labels, "encode training items")
        if lost := sorted({*self.labels} - {*items.data.classes}):
            raise DataError(f"class {lost[0]!r} has no readable training item; repair its files or remove the class")
        return items

    @cached_property
    def tests(self) -> FrozenItems | None:
        """The readable items to score; None if there are none to score."""
        scored = self.division.scored
        return self.frozen.items(scored, self.labels, "encode held-out items") if scored else None

    @property
    def skipped(self) -> tuple[MediaError, ...]:
        """The errors of the unreadable files."""
        return tuple(error for part in (self.items, self.tests, self.unlabelled) if part for error in part.skipped)

    @property
    def engine(self) -> str:
        """The names of the engines that computed the features; all processes must ask for it."""
        return engines_text(self.engines)

    @property
    def encoder(self) -> Encoder:
        """The encoder."""
        return self.frozen.encoder

    @property
    def prompts(self) -> list[str | tuple[str, ...]]:
        """The prompts of each class."""
        return class_prompts(self.recipe.template, self.names, self.sentences)

    @property
    def weights(self) -> Float[np.ndarray, " items"]:
        """The weight of each training item in a mean, for classes as frequent as `class_shares` says."""
        if self.items.multilabel:
            return np.ones(len(self.items.data))
        return item_weights(self.recipe.class_shares, len(self.labels), self.items.targets.numpy())

    @property
    def counts(self) -> list[int]:
        """The number of training items of each class; empty if items are multi-label."""
        return [] if self.items.multilabel else self.items.targets.bincount().tolist()

    @property
    def methods(self) -> tuple[MethodName, ...]:
        """The methods that the encoder allows, the default first; without text only the probe."""
        return get_args(MethodName) if self.encoder.has_text else ("probe",)

    def check_method(self, name: MethodName | None) -> MethodName:
        """Return the method, the default if None.

        Raises:
            DataError: the method needs a text encoder, and there is none.
        """
        if name is not None and name not in self.methods:
            remedy = f"{self.encoder.source} has no text encoder: add one (`text`)"
            raise DataError(f"`method` must be one of {', '.join(self.methods)}, got {name!r}; {remedy}")
        return name or self.methods[0]

    def fit(self, name: MethodName) -> Head:
        """Fit a method's head to the training items.

        `class_shares` moves the biases of a fitted probe, while zero-shot has no label shares.

        Raises:
            DataError: the items are multi-label, and unlabelled files are given.
            EncoderError: the method needs text, and the encoder has none.
        """
        items, features, targets = self.items, self.items.features, self.items.targets
        if items.multilabel:
            if self.unlabelled is not None:
                raise DataError(
                    "`unlabelled` is for single-label data, and these files have several labels: remove `unlabelled`"
                )
            return fit_multilabel(name, self.encoder, self.labels, self.prompts, features, targets, items.groups)
        penalty = self.penalty.get(name, 1.0)
        if name == "probe":
            head = logistic_head(features, targets, names=self.labels, penalty=penalty)
        else:
            if name != "text-probe":
                center = class_center(features, targets) if name == "zero-shot-centered" else None
                return text_head(self.encoder, self.labels, prompts=self.prompts, center=center)
            rows = self.encoder.familiarity_scaled_rows(self.labels, self.prompts)
            head = text_probe_head(rows, features, targets, names=self.labels, penalty=penalty)
        counts = np.bincount(targets.numpy(), minlength=len(self.labels))
        ratio, equal = (log_ratio(shares, counts) for shares in (self.recipe.class_shares, "equal"))
        head.bias.data += torch.from_numpy(ratio - equal).float()
        return head if self.unlabelled is None else refined_head(head, self.unlabelled.features, features, targets)

    def evaluate(self, name: MethodName) -> Evaluation:
        """Fit a method, and score it on the items to score."""
        assert self.tests is not None
        return evaluation_of(self.fit(name), self.tests)


def load_experiment(
    division: Division,
    options: EncoderOptions,
    classes: str | None = None,
    overrides: Mapping[str, Any] = MappingProxyType({}),
    reading: ReadOptions = ReadOptions(cache=True),
    reporter: Reporter = Reporter(),
    *,
    make: Callable[..., Recipe] | None = None,
) -> Experiment:
    """Return the experiment of divided items, with the encoder loaded.

    Args:
        classes: a file of class names or prompts for the labels, as in `read_classes`.
        overrides: recipe values.
        reporter: gets progress and messages.
        make: returns the recipe of an encoder that will be trained. None: the encoder stays frozen, and the recipe is
            `small` at its own input size: at 128 pixels videos lose 2 to 7 points, while more frames gain nothing
            (docs/decisions.md).

    Raises:
        DataError: the class names do not fit the labels, or a value is of a recipe that trains.
        RunError: a recipe value does not fit the data or the encoder.
    """
    train, overrides = division.train, options.with_template(overrides)
    for name, value in overrides.items() if make is None else ():
        if name not in OF_FROZEN and (name, value) != ("tune", "none"):
            raise DataError(f"`{name}` {value} is for fine-tuning: add `fine_tune=True`, or remove it")
    names, sentences, notes = classes_to_train(
        train.classes, train.source, classes, template=overrides.get("template"), clean=options.clean
    )
    template = (make or small)(**overrides).template
    encoder = options.load(class_prompts(template, names, sentences), lazy=make is None)
    spec = encoder.visual.spec
    if make is None:
        # Epochs and flips have no effect on frozen features.
        fixed: dict[str, Any] = {"flip": 0.0, "epochs": small().epochs, "temporal": "mean", "size": None}
        if spec.unit == "frame" and not train.only_images:
            fixed["frames"] = QUICK_FRAMES
        make, overrides = small, {**fixed, **overrides, "tune": "none"}
    recipe, changes = adapt_recipe(make, overrides, train, spec)
    if isinstance(options.source, Encoder) and not recipe.frozen:  # The caller's stays as it is.
        encoder = copy.copy(encoder)
        encoder.visual = copy.deepcopy(encoder.visual)
    engines = set[str]()
    frozen = FrozenEncoder(encoder, spec.protocol(recipe), reading, replace(reporter, used=engines.add))
    for note in (*division.notes, *notes):
        reporter.note(note)
    return Experiment(division, frozen, tuple(train.classes), names, sentences, recipe, changes, engines)


@torch.inference_mode()
def evaluation_of(head: Head, items: FrozenItems) -> Evaluation:
    """Evaluate a head on features; intervals take groups into account.

    Raises:
        DataError: as `evaluation_for`.
    """
    scores = head.eval()(items.features.to(head.weight.device)).cpu()
    return evaluation_for(head, items.data, items.targets, scores, list(items.skipped))
