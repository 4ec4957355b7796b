"""Rows of a head: Eq. 4 and 6, linear discriminant analysis, and the correlation of rows.

The rows at the end stand in `recipes.HEADS` under the names that `train --head` takes.
"""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from texthead.data import splits
from texthead.encoders.encoder import Encoder
from texthead.errors import DataError, Share
from texthead.recipes import Recipe
from texthead.text.class_names import check_names
from texthead.text.prompts import class_prompts

# The most items per class that LDA is fitted on.
_LDA_ITEMS = 60


def lda_weights(
    features: Float[Tensor, "items dim"],
    labels: Int[Tensor, " items"],
    *,
    shrinkage: Share | Literal["auto"] | None = "auto",
    centered: bool = True,
) -> Float[Tensor, "classes dim"]:
    """Return the rows of Fisher's linear discriminant, S_w^-1 (mu_c - mu), one per class; the intercept is dropped.

    Args:
        features: from the pretrained encoder, one per training item, not normalised.
        labels: 0 to classes-1, each at least twice.
        shrinkage: of the within-class covariance S_w towards a multiple of the identity: "auto" is Ledoit and Wolf's
            estimate from the items of all classes minus their class means; a number in [0, 1] is used as is; None
            uses the plain pseudo-inverse.
        centered: False gives S_w^-1 mu_c, scikit-learn's `coef_` with solver "lsqr" or "eigen" and the same number as
            shrinkage. The rows differ from centered ones by the same vector, S_w^-1 mu, which changes their directions.

    Source: Sec. 2.2, linear discriminant projection; Table 1.
    Differs: the paper states neither solver nor shrinkage nor centering; the published code loads a file `lda_0.1.pt`,
        so its shrinkage may have been 0.1, with either centering. With fewer items than dimensions S_w is singular and
        the pseudo-inverse discards every direction without within-class variation, so the default shrinks.
        scikit-learn's own "auto" estimates shrinkage per class, which gives none with two items per class.

    Raises:
        DataError: a class has fewer than two items, or there is only one class.
    """
    from sklearn.covariance import empirical_covariance, ledoit_wolf, shrunk_covariance

    classes = int(labels.max()) + 1
    if classes < 2:
        raise DataError("LDA needs at least 2 classes, got 1; use the text head")
    counts = torch.bincount(labels.long(), minlength=classes)
    if int(counts.min()) < 2:
        raise DataError(
            f"class {int(counts.argmin())} has {int(counts.min())} item, LDA needs at least 2 per class to measure the "
            "variation within it; add items or use the text head"
        )
    x, y = features.double().numpy(), labels.numpy()
    means = np.stack([x[y == label].mean(0) for label in range(classes)])
    residuals = x - means[y]
    if shrinkage == "auto":
        within = ledoit_wolf(residuals, assume_centered=True)[0]
    else:
        within = shrunk_covariance(empirical_covariance(residuals, assume_centered=True), shrinkage or 0.0)
    rows = (means - x.mean(0) if centered else means) @ np.linalg.pinv(within, hermitian=True)
    return torch.from_numpy(rows).float()


def text_weights(
    encoder: Encoder, names: Sequence[str], *, template: str | Sequence[str]
) -> Float[Tensor, "classes dim"]:
    """Return the normalised text embedding of each name's prompt; row i depends on name i only.

    For several templates, the rows are mean directions.

    Source: Eq. 6; Table 4.

    Raises:
        DataError: a name is empty or repeated, or a template does not have exactly one `{}`.
        EncoderError: a prompt has too many tokens for the text encoder.
    """
    check_names(names)
    return encoder.text_rows(class_prompts(template, names))


@dataclass(frozen=True)
class RowInputs:
    """The inputs that the rows of a head are made from.

    Args:
        names: the text for the text encoder, per label; the labels themselves if None.
        sentences: per label, its own sentence, or several whose rows are averaged, or None for the template.
        features, targets: pretrained features of the training items and their label indices or masks; needed for LDA
            and for a recipe with `center`.
        items: the names of these items, on which the draw for LDA depends; their numbers if None.
    """

    encoder: Encoder
    labels: Sequence[str]
    recipe: Recipe
    _: KW_ONLY
    names: Sequence[str] | None = None
    sentences: Sequence[str | Sequence[str] | None] | None = None
    features: Float[Tensor, "items dim"] | None = None
    targets: Int[Tensor, " items"] | Bool[Tensor, "items classes"] | None = None
    items: Sequence[str] | None = None

    def generator(self) -> torch.Generator:
        """Return a generator seeded with the recipe's seed."""
        return torch.Generator().manual_seed(self.recipe.seed)

    @property
    def prompts(self) -> list[str | tuple[str, ...]]:
        """The prompts of each label: its sentences, or its name in the templates."""
        return class_prompts(self.recipe.template, self.names or self.labels, self.sentences)

    @property
    def options(self) -> dict[str, Any]:
        """The options of a cosine head for these labels: `names`, `scale` and `center`."""
        given = self.recipe.scale
        scale = self.encoder.scale if given in (None, "learned") else given
        return {"names": self.labels, "scale": scale, "center": self.center}

    @property
    def center(self) -> Float[Tensor, " dim"] | None:
        """The mean of the training features if the recipe has `center`, else None."""
        if not self.recipe.center:
            return None
        assert self.features is not None
        return self.features.mean(0)


class RowKind(NamedTuple):
    """A kind of rows. A function that needs none of the attributes can stand for it.

    Attributes:
        make: returns the rows, of any length.
        needs_text: whether the rows are text embeddings of `RowInputs.prompts`.
        min_items_per_class: training items needed per class.
        trained: whether the rows are always trained.
    """

    make: Callable[[RowInputs], Float[Tensor, "classes dim"]]
    needs_text: bool = False
    min_items_per_class: int = 0
    trained: bool = False


def _lda(inputs: RowInputs) -> Float[Tensor, "classes dim"]:
    features, targets = inputs.features, inputs.targets
    assert features is not None
    assert targets is not None
    labels, names = ([str(each) for each in every] for every in (targets.tolist(), inputs.items or range(len(targets))))
    picked = splits.at_most(labels, _LDA_ITEMS, names=names, seed=inputs.recipe.seed)
    return lda_weights(features[picked], targets[picked])


text = RowKind(lambda inputs: inputs.encoder.text_rows(inputs.prompts), needs_text=True)
lda = RowKind(_lda, min_items_per_class=2)
cosine = RowKind(
    lambda inputs: torch.randn(len(inputs.labels), inputs.encoder.dim, generator=inputs.generator()), trained=True
)
