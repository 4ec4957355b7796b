"""One row of an experiment: all settings that determine its result except the seed, as hashable plain values."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Literal, NamedTuple


@dataclass(frozen=True)
class Row:
    """One training run and its evaluation.

    Args:
        data: data set name, as in `paper.data`.
        encoder: an argument of `load_encoder`, or "tinyclip-vit", "tinyclip-vit@SIZE", "tinyclip-resnet".
        text: a text-only encoder for the classifier rows, mapped to the visual width; "minilm" is the one in `mini`.
        recipe, changes: a function of `texthead.recipes`, and the fields of its recipe to override; also options of
            heads in paper/, such as `context`.
        steps: minimum number of optimizer steps; sets the epochs. None keeps the recipe's epochs.
        full_length: repeat the few items until an epoch is as long as with all items, as the published code does.
        head, train_head: as in `texthead train`, with the heads in paper/.
        head_rate: learning rate of new modules relative to the encoder's; None is the recipe's.
        lda_items: maximum items per class for fitting LDA.
        lda_shrinkage: shrinkage of LDA's within-class covariance; None is Ledoit and Wolf's estimate.
        lda_centered: whether the mean of all items is subtracted from LDA's class means.
        k, fraction: train on k items per class, or on a fraction of the training split. Both None: all items;
            k = 0: no training (zero-shot).
        drawing_processes: number of processes that each draw their own k items (a defect of the published code);
            0: one shared draw.
        unseen: fraction of the classes excluded from training, drawn from the seed.
        score: items to evaluate: the test split, held-out training items, or the unseen classes with text rows
            ("unseen": their test items, "all unseen": all their items, since none is trained on).
        views: test-time views; each is evaluated.
        watch: measure validation top-1 every `watch` steps; 0: never.
        matching: targets of the contrastive loss (Eq. 2); None trains with Eq. 3.
        online: fine-tune the text encoder too.
        gather: gather the batch's text embeddings over all processes.
        processes: number of processes that train together.
        alone: run in separate processes with no other job running, to measure time and memory.
        scored: evaluate on this data set instead, with text rows of its classes.
        zero_shot: data sets to evaluate on too, with text rows of their classes, none of which is trained on.
        after: data set to train on first, with its own text rows.
        maps: class names whose correlations in the trained head are saved.
    """

    data: str
    encoder: str = "mini"
    text: str | None = None
    recipe: str = "small"
    changes: Mapping[str, object] = field(default_factory=dict)
    steps: int | None = None
    full_length: bool = False
    head: str = "text"
    train_head: bool = False
    head_rate: float | None = None
    lda_items: int = 60
    lda_shrinkage: float | None = None
    lda_centered: bool = True
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
    zero_shot: tuple[str, ...] = ()
    after: str | None = None
    maps: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The inputs whose content enters the address of the result: data sets, and a small CLIP."""
        small = self.encoder.partition("@")[0] if self.encoder.startswith("tinyclip-") else None
        return tuple(name for name in (self.data, self.scored, *self.zero_shot, self.after, small) if name)

    def changed(self, **changes: object) -> "Row":
        """Return the row with these recipe fields overridden."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return Row(**{**values, "changes": {**self.changes, **changes}})

    def to_json(self) -> dict[str, object]:
        """Return the non-default values only, so that adding a field to `Row` keeps the addresses of old results."""
        default = Row(data="")
        values = {key: value for key, value in asdict(self).items() if value != getattr(default, key)}
        return json.loads(json.dumps({**values, "changes": dict(sorted(self.changes.items()))}))


class Job(NamedTuple):
    """One row with one seed; `title` names the row within its experiment."""

    title: str
    seed: int
    row: Row

    def key(self, scale: str, digest: str) -> str:
        """Return the address of the result: a hash of the row, the seed, the scale and the content of the data."""
        content = json.dumps([self.row.to_json(), self.seed, scale, digest], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:20]
