"""What the background alone predicts, beside what the order of frames does.

Command: python -m paper scene RUN --data DATA/ucf101
Needs:   a run, and videos that it was not trained on
Issue:   whether a data set's classes are told by the scene, which the published code does not test
Answer:  the same items with frames in order, shuffled and reversed (`texthead.order_test`), as one still frame (the
         middle one, repeated), and as their background: the median over the clip's frames of every pixel, repeated. The
         median removes what covers a pixel in less than half of the frames; if the camera moves, it is blurred, and if
         the subject stays in place, it keeps it. A run with mean pooling does not see the order.
Here:    not run at full scale: neither weights nor videos are here. Without RUN: moving drawings, of which the median
         keeps things that grow, shrink or spin in place.
"""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

import texthead as th
from paper.questions import Inputs, lead, rate
from paper.section import Table
from texthead.errors import RunError
from texthead.evaluation import Evaluation

LEAST = 3
VARIANTS = ("frames in order", "one still frame", "background alone")


class Scenes(th.Recognizer):
    """A model whose features of a clip are its scores of the clip, of its middle frame and of its background."""

    @property
    def sees_frames_apart(self) -> bool:
        """False, since a background depends on all frames of the clip."""
        return False

    def features(self, clips: Shaped[Tensor, "batch frames *frame"]) -> Float[Tensor, "batch scores"]:
        """Return the scores of the three variants, concatenated."""
        still = clips[:, [clips.shape[1] // 2]].expand_as(clips)
        background = clips.median(dim=1, keepdim=True).values.expand_as(clips)
        inner = th.Recognizer(self.visual, self.temporal, self.head)
        return torch.cat([inner(each) for each in (clips, still, background)], dim=-1)


def answer(inputs: Inputs) -> Table:
    """Compare the frames in order with other orders, a still frame and the background.

    Raises:
        RunError: the run takes too few frames for a median.
    """
    (run,) = inputs.runs
    protocol, items = run.protocol, inputs.known(inputs.scored)
    if protocol.frames < LEAST:
        raise RunError(f"{run.folder} takes {protocol.frames} frames, a background needs {LEAST}; give another run")
    model = Scenes(run.model.visual, run.model.temporal, run.model.head)
    scores = inputs.features(model, items, protocol)[:, 0].unflatten(-1, (len(VARIANTS), -1))
    targets, paths = items.labelling.targets(run.labels), [item.path for item in items.items]
    first, *others = (Evaluation(run.labels, paths, targets, each, groups=items.groups) for each in scores.unbind(1))
    order = th.order_test(run.model, items, protocol, inputs.reading)
    rows = [[VARIANTS[0], rate(first.right, items.groups), "", ""]]
    rows += [
        [f"frames {row.order}", f"{row.top1:.1f}", lead(-row.lost, -row.high, -row.low), f"{row.changed:.1f}"]
        for row in order.rows
    ]
    for name, each in zip(VARIANTS[1:], others, strict=True):
        changed = 100 * float((each.predicted != first.predicted).mean())
        rows.append(
            [name, rate(each.right, items.groups), lead(*each.lead_over(first, items.groups)), f"{changed:.1f}"]
        )
    caption = (
        f"Top-1 of {run.folder.name} in percent, {len(items)} items of {len(items.classes)} classes; 95 % intervals."
    )
    return Table(caption, ["", "top-1", "minus frames in order", "other answer"], rows)
