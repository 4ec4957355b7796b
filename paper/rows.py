"""One row of an experiment: everything that decides its numbers but the seed, as plain values that can be hashed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Literal, NamedTuple

from texthead.recipes import HeadKind


@dataclass(frozen=True)
class Row:
    """One training, and how its model is scored.

    Args:
        data: a name that `paper.data` reads.
        encoder: what `load_encoder` takes, or "tinyclip-vit", "tinyclip-vit@SIZE", "tinyclip-resnet".
        text: a text-only encoder for the rows; "minilm" is the one behind `mini`, lifted.
        recipe, changes: a function of `texthead.recipes`, and what is changed in what it returns.
        steps: epochs are set so that at least so many optimiser steps are made; None keeps the recipe's epochs.
        full_length: an epoch repeats its few items until it is as long as with all of them, as the published code does.
        head, train_head: as of `texthead train`.
        head_rate: rate of new modules over the encoder's; None is the recipe's.
        lda_items: items a class that LDA is fitted on.
        lda_shrinkage: of LDA's within-class covariance; None is Ledoit and Wolf's estimate.
        k, fraction: what of the training split is trained on; both None is all, k = 0 trains nothing (zero-shot).
        drawing_processes: processes of which each draws its own k items (the published code's defect); 0 is one draw.
        unseen: the part of the classes that is left out of training, drawn from the seed.
        score: the test split, a part held out of the training items, or the unseen classes behind text rows: their
            test items, or all of them, since no split of theirs is trained on.
        views: of testing, each scored.
        watch: validation top-1 is taken every so many steps; 0 takes none.
        matching: Eq. 2 in place of Eq. 3, with its targets.
        online: the text encoder is tuned as well.
        gather: rows of all processes are joined.
        processes: real processes that train together.
        alone: runs in processes of its own with nothing beside it, so that time and memory can be measured.
        scored: another data set that is scored, behind text rows of its classes.
        after: a data set that is trained on before, behind its own text rows.
        maps: names whose rows' correlations are kept, as the head has them after training.
    """

    data: str
    encoder: str = "mini"
    text: str | None = None
    recipe: str = "small"
    changes: Mapping[str, object] = field(default_factory=dict)
    steps: int | None = None
    full_length: bool = False
    head: HeadKind = "text"
    train_head: bool = False
    head_rate: float | None = None
    lda_items: int = 60
    lda_shrinkage: float | None = None
    k: int | None = None
    fraction: float | None = None
    drawing_processes: int = 0
    unseen: float = 0.0
    score: Literal["test", "held-out", "unseen", "all unseen"] = "test"
    views: tuple[str, ...] = ("1x1",)
    watch: int = 0
    matching: Literal["one_hot", "multi_positive"] | None = None
    online: bool = False
    gather: bool = False
    processes: int = 1
    alone: bool = False
    scored: str | None = None
    after: str | None = None
    maps: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """What it stands on that has a content of its own: data sets, and a small CLIP."""
        small = self.encoder.partition("@")[0] if self.encoder.startswith("tinyclip-") else None
        return tuple(name for name in (self.data, self.scored, self.after, small) if name)

    def changed(self, **changes: object) -> "Row":
        """The row with other values of its recipe."""
        own = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return Row(**{**own, "changes": {**self.changes, **changes}})

    def to_json(self) -> dict[str, object]:
        """What differs from the defaults: a new field of `Row` leaves the hash of old rows alone."""
        plain = Row(data="")
        values = {key: value for key, value in asdict(self).items() if value != getattr(plain, key)}
        return json.loads(json.dumps({**values, "changes": dict(sorted(self.changes.items()))}))


class Job(NamedTuple):
    """One row with one seed; `title` is what an experiment calls the row."""

    title: str
    seed: int
    row: Row

    def key(self, scale: str, digest: str) -> str:
        """The address of the result: a hash of the row, the seed, the scale and the data's content."""
        told = json.dumps([self.row.to_json(), self.seed, scale, digest], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:20]
