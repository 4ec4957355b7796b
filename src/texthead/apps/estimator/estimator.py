"""A scikit-learn estimator that classifies videos and images by path."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d
from torch import Tensor

from texthead import Dataset, FrozenEncoder, Item, ReadOptions, load_encoder
from texthead.data import Division
from texthead.encoders import weights_key
from texthead.errors import DataError, NonNegativeInt, PositiveInt, RunError, check_types, raising
from texthead.features import FrozenItems, readable
from texthead.parallel import apart_from_caller, pick_device
from texthead.recipes import EngineName, MethodName, Recipe
from texthead.text import class_prompts, clean_names
from texthead.transfer import Experiment

# One path, or a list, an array or a column of paths.
Files = str | Path | Iterable[Any]


@dataclass(eq=False, repr=False)
class TextHeadClassifier(ClassifierMixin, BaseEstimator):
    """A classifier of files on a frozen encoder: `fit(paths, labels).predict(paths)`.

    If a file may have several labels, they are a table of 0 and 1 with a column for each class, as scikit-learn's
    `MultiLabelBinarizer` makes it, and so is what `predict` returns.

    Frame features are cached, so that cross-validation and parameter searches decode each file once. Fitting is
    deterministic: the same files give the same model. To fine-tune the encoder, use `texthead.train`.

    Args:
        method: as in `train`, but always with the usual penalty: "text-probe" combines text rows with the labelled
            items; "probe" is a logistic regression without text; "zero-shot" is the text rows alone;
            "zero-shot-centered" is the text rows and the center of the labelled items.
        encoder: as in `load_encoder`.
        class_names: for each label a class name for the template, or a list of prompts whose rows are averaged. None
            uses the cleaned labels.
        template: the prompt, with exactly one `{}`.
        class_shares: how frequent classes are in what will be predicted: "equal" (also if labels are unbalanced), or
            as in the "labels". It does not change zero-shot.
        frames: number of frames per video, spread evenly; their features are averaged.
        size: side of the crop in pixels; the encoder's own if None.
        cache: folder of the feature cache; $TEXTHEAD_CACHE or the user's cache folder if None.
        workers: data-loader workers.
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "mps".
        engine: the engine of the encoder, as in `ReadOptions`.

    Attributes:
        classes_: the labels, sorted; the order of columns. Of a table of 0 and 1 its column names, or numbers.
        head_: the fitted head, a module from features to scores.
        prompts_: the prompts of each class's row; None for "probe".

    Raises:
        DataError: in `fit` and `predict`: not a list of paths, another number of labels, labels of one class only, or
            a label missing in `class_names`.
        MediaError: a file cannot be read.
    """

    method: MethodName = "text-probe"
    _: KW_ONLY
    encoder: str = "mini"
    class_names: Mapping[Any, str | Sequence[str]] | None = None
    template: str = "{}"
    class_shares: Literal["equal", "labels"] = "equal"
    frames: PositiveInt | None = None
    size: PositiveInt | None = None
    cache: str | Path | None = None
    workers: NonNegativeInt = 0
    device: str = "auto"
    engine: EngineName = "auto"

    @apart_from_caller()
    def fit(self, X: Files, y: Iterable[Any]) -> "TextHeadClassifier":
        """Fit to files and their labels, one each or a table of 0 and 1, and return self."""
        check_types(TextHeadClassifier, self.get_params(deep=False), DataError)
        paths = _paths(X)
        self.classes_, numbers = _targets(y, len(paths))
        names = tuple(str(label) for label in self.classes_)
        frozen, recipe = self._frozen(), Recipe(name="estimator", class_shares=self.class_shares)
        # The groups keep the parts of a video apart.
        data = Dataset(tuple(Item(path, (), group=str(path)) for path in paths))
        items = FrozenItems(data, self._features(frozen, paths), torch.from_numpy(numbers))
        self.encoder_key_ = self._key(frozen)
        self.prompts_ = None if self.method == "probe" else self._prompts()
        division, prompts = Division(data, None, data.select([]), ""), self.prompts_ or [None] * len(names)
        experiment = Experiment(division, frozen, names, names, prompts, recipe).changed(items=items)
        self.head_ = experiment.fit(self.method).eval()
        return self

    def decision_function(self, X: Files) -> Float[np.ndarray, "files *classes"]:
        """Return the score of each class; for two classes, second minus first, as in scikit-learn."""
        scores = self._scores(X).numpy()
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 and not self.head_.multilabel else scores

    def predict_proba(self, X: Files) -> Float[np.ndarray, "files classes"]:
        """Return the probability (0-1) of each class."""
        scores = self._scores(X)
        return (scores.sigmoid() if self.head_.multilabel else scores.softmax(-1)).numpy()

    def predict(self, X: Files) -> np.ndarray:
        """Return the best label of each file; if fitted to a table of 0 and 1, such a table."""
        scores = self._scores(X)
        if self.head_.multilabel:
            return (scores >= torch.as_tensor(self.head_.thresholds)).long().numpy()
        return self.classes_[scores.argmax(-1).numpy()]

    def __sklearn_tags__(self) -> Any:
        """Return the tags of an estimator whose samples are paths."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.classifier_tags.multi_label = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the encoder, which is loaded again when needed."""
        state: Any = super().__getstate__()
        return {key: value for key, value in state.items() if key != "_loaded"}

    def _frozen(self) -> FrozenEncoder:
        """Return the encoder, loaded once, with how it sees files."""
        name, encoder = getattr(self, "_loaded", (None, None))
        if encoder is None or name != self.encoder:
            encoder = load_encoder(self.encoder)
            encoder.visual.eval()
            self._loaded = (self.encoder, encoder)
        encoder.visual.to(pick_device(self.device))
        spec = encoder.visual.spec
        frames = self.frames or spec.clip_frames(4)
        recipe = Recipe(name="estimator", frames=frames, size=self.size, origin="center", stride=spec.stride)
        cache = True if self.cache is None else self.cache
        reading = ReadOptions(self.workers, cache=cache, skip_unreadable=True, engine=self.engine)
        return FrozenEncoder(encoder, spec.protocol(recipe), reading)

    def _key(self, frozen: FrozenEncoder) -> str:
        """Return a digest of the encoder's weights, the frames and the sizes."""
        visual = frozen.encoder.visual
        return weights_key(visual, repr((visual.spec, frozen.protocol)))

    def _features(self, frozen: FrozenEncoder, paths: Sequence[Path]) -> Float[Tensor, "files dim"]:
        """Return the mean feature of each file, through the cache."""
        encoded = frozen.files(paths)
        readable(encoded.skipped, skip=False, remedy="remove files that cannot be read")
        return encoded.features

    def _prompts(self) -> list[str | tuple[str, ...]]:
        """Return the prompts of each class's row."""
        labels = [str(label) for label in self.classes_]
        if self.class_names is None:
            if np.issubdtype(self.classes_.dtype, np.integer):
                why = "cross_val_predict numbers labels for probabilities, a table without columns its classes"
                text = f"labels are numbers, no names for a text encoder; pass `class_names` ({why})"
                warnings.warn(text, stacklevel=2)
            return class_prompts(self.template, clean_names(labels))
        missing = [label for label in self.classes_.tolist() if label not in self.class_names]
        if missing:
            raise DataError(f"`class_names` has no entry for label {missing[0]!r}: add it, or remove `class_names`")
        values = [self.class_names[label] for label in self.classes_.tolist()]
        names = [value if isinstance(value, str) else label for label, value in zip(labels, values, strict=True)]
        return class_prompts(self.template, names, [None if isinstance(value, str) else value for value in values])

    @apart_from_caller()
    @torch.inference_mode()
    def _scores(self, X: Files) -> Float[Tensor, "files classes"]:
        """Return the score of each class for each file.

        Raises:
            RunError: encoder, frames or size have changed since `fit`.
        """
        check_is_fitted(self)
        paths, frozen = _paths(X), self._frozen()
        if self._key(frozen) != self.encoder_key_:
            raise RunError(f"encoder '{self.encoder}', its frames or its input size have changed since fit: fit again")
        return self.head_(self._features(frozen, paths))


def _targets(values: Iterable[Any], paths: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (the classes, sorted; the index of each path's class), or the columns and rows of a table of 0 and 1.

    Raises:
        DataError: not one label or row per path, or labels of one class only.
    """
    with raising(DataError, "`labels` must be one per path", "or pass a table of 0 and 1, as MultiLabelBinarizer's"):
        labels, objects = np.asarray(values), np.asarray(values, object)
    if labels.dtype.kind == "U" and any(each != each for each in objects.flat):
        labels = objects  # Among texts, a missing label (NaN) would become a class "nan".
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = column_or_1d(labels, warn=True)  # A table's only column is one label each, with a warning.
    if labels.ndim == 2 and len(labels) == paths and np.isin(labels, (0, 1)).all():
        return np.asarray(getattr(values, "columns", range(labels.shape[1]))), labels.astype(bool)
    if labels.shape != (paths,):
        raise DataError(
            f"{paths} paths, labels of shape {labels.shape}: pass one per path, or a row of 0 and 1 per path"
        )
    missing = [index for index, label in enumerate(labels.tolist(), 1) if label is None or label != label]
    if missing:
        raise DataError(f"path {missing[0]} of {paths} has no label: add it, or remove the path")
    with raising(DataError, "`labels` are not classes", "use names or whole numbers"):
        check_classification_targets(labels)
    classes, numbers = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"all labels are {classes.tolist()[0]!r}: a classifier needs at least 2 classes")
    return classes, numbers


def _paths(samples: Files) -> list[Path]:
    """Return one path, or the paths in a list, an array or a column of a table, as a list.

    Raises:
        DataError: anything else.
    """
    values = np.asarray([samples] if isinstance(samples, str | Path) else samples, dtype=object)
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    wrong = [type(value).__name__ for value in values.flat if not isinstance(value, str | Path)]
    if values.ndim != 1 or not len(values) or wrong:
        kind = f" with {wrong[0]}" if wrong else ""
        raise DataError(f"`files` must be a list of paths, got an array of shape {values.shape}{kind}")
    return [Path(value) for value in values]
