"""The matching paradigm: each video is matched with the texts of its batch, not with all classes (Eq. 2; Table 6)."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from texthead.encoders.encoder import Text
from texthead.errors import RunError
from texthead.models.head_rows import prompt_rows
from texthead.models.heads import FrozenHead, as_frozen
from texthead.models.recognizer import Recognizer
from texthead.parallel.distributed import gather_rows

Targets = Literal["one_hot", "multi_positive"]

# So many classes' prompts go through the text encoder at once when all rows are made anew.
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
    """The mean loss of a batch whose i-th text is that of the i-th video; 0 of an empty batch.

    "multi_positive", the default, is what the published code does, and with it the rows of Table 6: both directions,
    each the Kullback-Leibler divergence from softmax(10 G) to the prediction, G[i, j] = 1 where labels are equal and
    else 0, their mean. The softmax leaves some mass on the negatives: of one positive among 128 it puts 0.994 on it,
    among 1024 it is 0.956. "one_hot" is Eq. 2 as it reads: the cross-entropy of each video over the texts of the batch,
    its own being the i-th, one direction. Two videos of one label are then each other's negatives, and the loss has a
    floor above 0.

    Args:
        video, text: rows of any length; they are normalised here.
        labels: tell which texts of the batch belong to a video too; "one_hot" does not look at them.
        scale: the logit scale, with or without a gradient.
        gather: join the batches of all processes first. Each process then returns the loss of the joined batch, and
            the mean over processes of the gradients is that of one process on the joined batch.

    Source: Eq. 2; Table 6, "batch gather".
    Differs: Eq. 2 shows neither normalised rows nor a scale, which its code has.

    Raises:
        RunError: an unknown kind of targets, or not one text and one label a video.
    """
    _check_targets(targets)
    if not len(video) == len(text) == len(labels):
        raise RunError(f"{len(video)} videos, {len(text)} texts, {len(labels)} labels: give one of each a pair")
    # A scale of 100 does not suit half precision.
    with torch.autocast(video.device.type, enabled=False):
        video, text = (
            F.normalize(rows.to(torch.promote_types(rows.dtype, torch.float)), dim=-1) for rows in (video, text)
        )
        if gather:
            # Both in one: their gradients go back in one step, in the same order on all processes.
            video, text = gather_rows(torch.cat([video, text], dim=1)).chunk(2, dim=1)
            labels = gather_rows(labels)
        logits = scale * video @ text.T
        pairs = max(1, len(logits))
        if targets == "one_hot":
            own = torch.arange(len(logits), device=logits.device)
            return F.cross_entropy(logits, own, reduction="sum") / pairs
        wanted = target_mass(labels).to(logits.dtype)
        sides = [F.kl_div(side.log_softmax(-1), wanted, reduction="sum") for side in (logits, logits.T)]
        return (sides[0] + sides[1]) / (2 * pairs)


def target_mass(labels: Int[Tensor, " batch"]) -> Float[Tensor, "batch batch"]:
    """softmax(10 G): what the published code wants of each pair, G[i, j] = 1 where labels are equal.

    target_mass of labels 0, 0, 1 has the rows (0.49999, 0.49999, 0.00002) twice and (0.00005, 0.00005, 0.99991).
    """
    return (10.0 * (labels[:, None] == labels[None, :])).softmax(-1)


def _check_targets(targets: str) -> None:
    if targets not in get_args(Targets):
        raise RunError(f"targets must be {' or '.join(get_args(Targets))}, got {targets!r}")


class Matching(nn.Module):
    """What `train` takes as its objective: the matching loss of each batch, the text encoder tuned or not.

    Args:
        text: the text encoder behind the head's rows, as `encoder.text` gives it: its weights are trained from here on
            at the recipe's `lr` ("online"), without dropout, and the prompts of a batch's labels are encoded at each
            step. None takes the head's own frozen rows ("offline").
        targets, gather: as of `matching_loss`.

    The model needs a `FrozenHead`; online its prompts are the ones that are encoded. Features are centred as the head
    does it, and its logit scale is the loss's. Tuned text is put into the head's rows by `refresh`, which `train` calls
    after each epoch, so that a run is evaluated and read back as any other.

    Source: Eq. 2; Table 6: textual encoder online or offline, with and without batch gather.

    Raises:
        RunError: an unknown kind of targets.
        EncoderError: a text encoder that passes no gradients.
    """

    def __init__(self, text: Text | None = None, *, targets: Targets = "multi_positive", gather: bool = False):
        super().__init__()
        _check_targets(targets)
        if text is not None:
            text.check_gradients()
        self.text = None if text is None else text.requires_grad_(True)
        self.targets: Targets = targets
        self.gather = gather

    def config(self) -> dict[str, object]:
        """What `recipe.json` says of it."""
        text = "offline" if self.text is None else "online"
        return {"kind": "matching", "text": text, "targets": self.targets, "gather": self.gather}

    def check(self, model: Recognizer, *, accumulate: int) -> None:
        """Nothing, if the model can be trained so.

        Raises:
            RunError: another head, a head without prompts for the text encoder, or a gather of batches that are cut.
        """
        head = as_frozen(model.head)
        if self.text is not None and head.prompts is None:
            raise RunError(
                f"the head's rows ({head.kind}) come from no prompts, so there is nothing to encode online: make the "
                "head with text_head, or match offline with Matching(None)"
            )
        if self.gather and accumulate > 1:
            raise RunError(
                f"accumulate {accumulate} cuts a batch that gather joins: set accumulate 1, or match without gather"
            )

    def forward(
        self, model: Recognizer, clips: Shaped[Tensor, "batch frames *frame"], labels: Int[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """The mean loss of the batch, or with `gather` of the batches of all processes; `labels` number head rows.

        A clip with a label below 0 goes through the encoder and counts nowhere.

        Source: Eq. 2.
        """
        head = as_frozen(model.head)
        own = labels >= 0
        if len(clips):
            features = model.features(clips)[own]
        else:  # A process without a clip takes part in the gather, and in its way back.
            features = torch.zeros(0, head.weight.shape[1], device=clips.device, requires_grad=True)
        return matching_loss(
            head.directions(features),
            self._rows(head, labels[own]),
            labels[own],
            scale=head.log_scale.exp(),
            targets=self.targets,
            gather=self.gather,
        )

    def _rows(self, head: FrozenHead, labels: Tensor) -> Float[Tensor, "batch dim"]:
        """The text row of each label; one that occurs twice is encoded once."""
        if self.text is None or not len(labels):
            return head.weight[labels]
        found, places = labels.unique(return_inverse=True)
        return prompt_rows(self.text, _prompts(head, found.tolist()))[places]

    @torch.no_grad()
    def refresh(self, model: Recognizer) -> None:
        """Put the rows of the text encoder as it is now into the head; offline nothing changes."""
        if self.text is not None:
            head = as_frozen(model.head)
            parts = torch.arange(len(head.weight)).split(_CHUNK)
            head.weight.copy_(torch.cat([prompt_rows(self.text, _prompts(head, part.tolist())) for part in parts]))


def _prompts(head: FrozenHead, rows: Sequence[int]) -> list[str | tuple[str, ...]]:
    assert head.prompts is not None
    return [head.prompts[row] for row in rows]
