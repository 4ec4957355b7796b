"""Matching: contrast each video with the texts of its batch, not with all classes (Eq. 2; Table 6)."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

import texthead as th
from texthead.errors import RunError, checked
from texthead.parallel import all_gather_list, rank, world_size
from texthead.training import Objective

Text = Any  # `Encoder.text`.
Targets = Literal["one_hot", "multi_positive"]

# Classes encoded at once when all rows are refreshed.
_CHUNK = 64


def matching_loss(
    video: Float[Tensor, "batch dim"],
    text: Float[Tensor, "batch dim"],
    labels: Int[Tensor, " batch"],
    *,
    scale: float | Float[Tensor, ""],
    targets: Targets = "multi_positive",
    gather: bool = False,
) -> Float[Tensor, ""]:
    """Return the mean loss of a batch in which the i-th text belongs to the i-th video; 0 for an empty batch.

    "multi_positive", the default, is the loss of the published code and of the rows of Table 6: the mean over both
    directions of the Kullback-Leibler divergence from softmax(10 G) to the prediction, where G[i, j] = 1 if labels are
    equal, else 0. The softmax leaves some mass on the negatives: a single positive among 128 gets 0.994, among 1024
    0.956. "one_hot" is Eq. 2 as written: the cross-entropy of each video over the texts of the batch, in one
    direction. Two videos of the same label are then each other's negatives, so the loss has a floor above 0.

    Args:
        video, text: rows of any length; they are normalised here.
        labels: the label of each pair; texts of the same label are positives too. Ignored by "one_hot".
        scale: the logit scale, with or without a gradient.
        gather: join the batches of all processes first. Each process then returns the loss of the joined batch, and
            the mean of the gradients over processes equals that of one process on the joined batch.

    Source: Eq. 2; Table 6, "batch gather".
    Differs: Eq. 2 has neither normalised rows nor a scale, but the published code has both. With its gather the
        gradient is this one divided by the number of processes, which AdamW undoes but for its eps.
    """
    # Logits at a scale of 100 need more than half precision.
    with torch.autocast(video.device.type, enabled=False):
        video, text = (
            F.normalize(rows.to(torch.promote_types(rows.dtype, torch.float)), dim=-1) for rows in (video, text)
        )
        if gather:
            # One collective call, so that the backward pass has the same order on all processes.
            video, text = gather_rows(torch.cat([video, text], dim=1)).chunk(2, dim=1)
            labels = gather_rows(labels.to(video.device))
        logits = scale * video @ text.T
        pairs = max(1, len(logits))
        if targets == "one_hot":
            diagonal = torch.arange(len(logits), device=logits.device)
            return F.cross_entropy(logits, diagonal, reduction="sum") / pairs
        target = target_mass(labels).to(logits)
        sides = [F.kl_div(side.log_softmax(-1), target, reduction="sum") for side in (logits, logits.T)]
        return (sides[0] + sides[1]) / (2 * pairs)


def gather_rows(rows: Shaped[Tensor, "own *row"]) -> Shaped[Tensor, "all *row"]:
    """Return the rows of all processes, in rank order, on every process; a process may have any number, or none.

    Differentiable: if each process runs backward from a loss of all rows, a row gets the sum of the gradients of all
    these losses, so weight the losses accordingly. All processes run backward together, so a process without rows
    needs an empty tensor that requires a gradient if the others' tensors do.
    """
    return rows if world_size() == 1 else _GatherRows.apply(rows)  # pyright: ignore[reportReturnType]


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        counts = all_gather_list([len(rows)])
        # all_gather needs tensors of equal size.
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        chunks = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(chunks, padded)
        start = sum(counts[: rank()])
        ctx.own = slice(start, start + len(rows))
        return torch.cat([chunk[:count] for chunk, count in zip(chunks, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = grads[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[ctx.own]


def target_mass(labels: Int[Tensor, " batch"]) -> Float[Tensor, "batch batch"]:
    """Return softmax(10 G), the target distribution of the published code; G[i, j] = 1 if labels are equal.

    Labels 0, 0, 1 give the rows (0.49999, 0.49999, 0.00002) twice and (0.00005, 0.00005, 0.99991).
    """
    return (10.0 * (labels[:, None] == labels[None, :])).softmax(-1)


class Matching(Objective):
    """The matching loss as the objective of `train`, with a trained or frozen text encoder.

    Args:
        text: the text encoder of the head's rows (`encoder.text`), which is then trained at the recipe's `lr`
            ("online"), without dropout; the prompts of a batch's labels are encoded at each step. None uses the head's
            frozen rows ("offline").
        targets, gather: as in `matching_loss`.

    The model needs a `FrozenHead`; online, it provides the prompts. The head centers the features and provides the
    logit scale. `train` calls `refresh` after each epoch to copy the tuned text rows to the head, so that the run is
    evaluated and loaded as any other.

    Source: Eq. 2; Table 6: textual encoder online or offline, with and without batch gather.

    Raises:
        RunError: `targets` is unknown.
        EncoderError: the text encoder passes no gradients.
    """

    @checked
    def __init__(self, text: Text | None = None, *, targets: Targets = "multi_positive", gather: bool = False):
        super().__init__()
        if text is not None:
            _ = text.embedding  # Raises EncoderError if no gradients flow.
        self.text = None if text is None else text.requires_grad_(True)
        self.trains_text = text is not None
        self.targets: Targets = targets
        self.gather = gather

    def config(self) -> dict[str, object]:
        """Return the entry for `recipe.json`."""
        text = "offline" if self.text is None else "online"
        return {"kind": "matching", "text": text, "targets": self.targets, "gather": self.gather}

    def check(self, model: th.Recognizer, *, accumulate: int) -> None:
        """Raise RunError if the model has another head or one without prompts, or gather meets accumulation."""
        head = as_frozen(model.head)
        if self.text is not None and head.prompts is None:
            raise RunError(
                f"the head's rows ({head.kind}) do not come from prompts, so there is nothing to encode online: make "
                "the head with text_head, or match offline with Matching(None)"
            )
        if self.gather and accumulate > 1:
            raise RunError(
                f"`accumulate={accumulate}` splits the batch that gather joins: set it to 1, or match without gather"
            )

    def forward(
        self, model: th.Recognizer, clips: Shaped[Tensor, "batch frames *frame"], labels: Int[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """Return the mean loss of the batch, or with `gather` of the batches of all processes.

        Labels are indices of head rows, and may be on the CPU. Clips with a label below 0 pass through the encoder but
        do not count.

        Source: Eq. 2.
        """
        head = as_frozen(model.head)
        valid = labels >= 0
        if len(clips):
            features = model.features(clips)[valid]
        else:  # A process without a clip must still take part in the gather and its backward pass.
            features = torch.zeros(0, head.weight.shape[1], device=clips.device, requires_grad=True)
        return matching_loss(
            head.directions(features),
            self._rows(head, labels[valid]),
            labels[valid],
            scale=head.log_scale.exp(),
            targets=self.targets,
            gather=self.gather,
        )

    def _rows(self, head: th.FrozenHead, labels: Tensor) -> Float[Tensor, "batch dim"]:
        """Return the text row of each label, with each label encoded once."""
        if self.text is None or not len(labels):
            return head.weight[labels]
        unique, inverse = labels.unique(return_inverse=True)
        return self.text.rows(_prompts(head, unique.tolist()))[inverse]

    @torch.no_grad()
    def refresh(self, model: th.Recognizer) -> None:
        """Copy the current rows of the text encoder to the head; does nothing offline."""
        if self.text is not None:
            head = as_frozen(model.head)
            chunks = torch.arange(len(head.weight)).split(_CHUNK)
            head.weight.copy_(torch.cat([self.text.rows(_prompts(head, chunk.tolist())) for chunk in chunks]))


def _prompts(head: th.FrozenHead, rows: Sequence[int]) -> list[str | tuple[str, ...]]:
    assert head.prompts is not None
    return [head.prompts[row] for row in rows]


def as_frozen(head: nn.Module) -> th.FrozenHead:
    """Return the head if it is a FrozenHead, with one row per class.

    Raises:
        RunError: the head is of another class.
    """
    if type(head) is not th.FrozenHead:  # A subclass may compute other scores.
        raise RunError(f"matching needs a FrozenHead, got a {type(head).__name__}; make one with text_head")
    return head


def offline(_: th.Recognizer) -> Matching:
    """Return matching with the head's frozen rows: `--loss matching`."""
    return Matching()
