"""Options of `train` besides model, data and recipe: execution, and metadata of the run."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from texthead.data.dataset import Dataset
from texthead.errors import NonNegativeInt, check_fields
from texthead.parallel.distributed import gather_list, rank
from texthead.recipes import EngineName

# Seconds between checkpoints of a run on cached features: the most work that a stop can lose.
CHECKPOINT_SECONDS = 60


@dataclass(frozen=True)
class Execution:
    """How a run is executed; nothing here changes the trained model.

    Args:
        workers: data-loader workers; 0 decodes in this process.
        cache: folder of frame features, as in `Reading`; used if the recipe freezes the encoder.
        checkpoint_every: steps between checkpoints, also within epochs. None: every epoch, but with a frozen encoder,
            where epochs are short, the first epoch end after a minute. The last step always writes one. 0: none at
            all. A run can be resumed with another number of processes.
        engine: the engine of a frozen encoder, as in `Reading`.

    Raises: RunError for a checkpoint_every below 0.
    """

    workers: NonNegativeInt = 0
    cache: str | Path | bool = False
    checkpoint_every: NonNegativeInt | None = None
    engine: EngineName = "eager"

    def __post_init__(self) -> None:
        check_fields(self)

    def is_due(self, step: int, steps_per_epoch: int, saved: float, *, frozen: bool, last: bool) -> bool:
        """Return whether to write a checkpoint after a step; `saved` is the monotonic time of the last one."""
        if self.checkpoint_every == 0:
            return False
        if last:
            return True
        due = step % (self.checkpoint_every or steps_per_epoch) == 0
        if self.checkpoint_every or not frozen:
            return due
        # All processes must agree, so they use the clock of the first.
        return due and any(gather_list([time.monotonic() - saved >= CHECKPOINT_SECONDS] if rank() == 0 else [False]))


@dataclass(frozen=True)
class RunInfo:
    """Metadata for the run folder that training itself does not need.

    Args:
        names: class names of the labels, as the text encoder reads them; the labels themselves if None.
        held_out: items for a later test.
        command: options of the command that calls `train`.
    """

    names: Sequence[str] | None = None
    held_out: Dataset | None = None
    command: dict[str, object] | None = None
