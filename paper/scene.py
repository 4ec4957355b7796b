"""What the background alone predicts, beside what the order of frames does.

Command: python -m paper scene RUN --data DATA/ucf101
Needs:   a run, and videos that it was not trained on; training items, else the probes are fitted in five folds
Issue:   whether the scene predicts a data set's classes, which the published code does not test
Answer:  three linear probes on the run's visual encoder, mean over frames: trained and tested on whole clips, on the
         middle frame, and on the background, which is the median over the clip's frames of every pixel. So a low
         number is not an input that the classifier never saw. The median removes what covers a pixel in less than
         half of the frames. Then the run itself with frames in order, shuffled and reversed (`paper.frame_order`).
Here:    not run at full scale: neither weights nor videos are here. Without RUN: moving drawings, whose classes are a
         thing and its motion. Backgrounds say nothing, but the median keeps traces of the motion: 54.2 % (12 classes,
         10 training and 10 test clips of each; chance 8.3 %).
"""

from collections import Counter

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

import texthead as th
from paper.frame_order import blind_to_order, order_test
from paper.questions import Inputs, lead, rate
from paper.section import Section, Table
from texthead.errors import RunError
from texthead.evaluation import Evaluation
from texthead.transfer import logistic_head

MIN_FRAMES, PER_CLASS = 3, 60
VARIANTS = ("whole clips", "middle frame", "background")


class Scenes(th.Recognizer):
    """A model whose features of a clip are the encoder's, mean over frames, of the clip in three variants."""

    @property
    def encodes_frames_independently(self) -> bool:
        """False, since a background depends on all frames of the clip."""
        return False

    def features(self, clips: Shaped[Tensor, "batch frames *frame"]) -> Float[Tensor, "batch variants_dim"]:
        """Return the features of the variants, concatenated."""
        stills = clips[:, [clips.shape[1] // 2]], clips.median(dim=1, keepdim=True).values
        if self.takes_clips:
            stills = [each.expand_as(clips) for each in stills]
        inner = th.Recognizer(self.visual, th.MeanPool(), nn.Identity())
        return torch.cat([inner(each) for each in (clips, *stills)], dim=-1)


def answer(inputs: Inputs) -> Section:
    """Compare probes of whole clips and of backgrounds, and orders of the run's frames.

    Raises:
        RunError: the run takes too few frames for a median.
    """
    (run,) = inputs.runs
    protocol, scored, train = run.protocol, inputs.known(inputs.scored), inputs.training
    if protocol.frames < MIN_FRAMES:
        raise RunError(
            f"{run.folder} takes {protocol.frames} frames, a background needs {MIN_FRAMES}; give another run"
        )
    train = train.at_most(PER_CLASS, seed=0)
    items, fold, source = inputs.folded(train)
    targets, groups, test = items.targets(run.labels), scored.groups, fold > 0
    model = Scenes(run.model.visual, th.MeanPool(), nn.Identity())
    features = inputs.features(model, items, protocol)[:, 0].unflatten(-1, (len(VARIANTS), -1))
    scores = torch.zeros(len(items), len(VARIANTS), len(run.labels))
    for number in fold[test].unique().tolist():
        others, own = fold != number, fold == number
        for i in range(len(VARIANTS)):
            probe = logistic_head(features[others, i], targets[others], names=run.labels)
            scores[own, i] = probe(features[own, i]).detach()
    paths = [item.path for item in scored.items]
    first, *more = (
        Evaluation(run.labels, paths, targets[test], each, groups=groups) for each in scores[test].unbind(1)
    )
    rows = [[VARIANTS[0], rate(first.right, groups), "-"]]
    for name, each in zip(VARIANTS[1:], more, strict=True):
        rows.append([name, rate(each.right, groups), lead(*each.lead_over(first, groups))])
    headers = ["probe of", "top-1", f"minus {VARIANTS[0]}"]
    tables = [Table(f"Probes: top-1 in percent, {inputs.where}; 95 % intervals", headers, rows)]
    chance = 100 * max(Counter(scored.labels).values()) / len(scored)
    title = (
        f"Top-1 in percent from the background alone: {rows[2][1]}; from whole clips: {rows[0][1]}; by chance: "
        f"{chance:.1f}, the share of the largest of {len(scored.classes)} classes among {len(scored)} items."
    )
    notes = [
        f"Probes: what `texthead train --method probe --tune none` fits, here to {source}, with the run's encoder; "
        "trained and tested on inputs of one kind. An encoder that was fine-tuned saw whole clips only.",
        "Background: the median of each pixel over the clip's frames. If the camera moves, it is blurred. It still "
        "shows a subject that stays in place and traces of one that moves little, which are not the scene.",
    ]
    right = (inputs.scores(run, scored).argmax(1) == targets[test]).numpy()
    if blind_to_order(run.model, protocol.frames):
        rows = [["in any order", rate(right, groups), "does not see the order", "-"]]
    else:
        rows = [["in order", rate(right, groups), "-", "-"]]
        for row in order_test(run.model, scored, protocol, inputs.reading).rows:
            cost = lead(-row.lost, -row.high, -row.low)
            rows.append([row.order, f"{row.top1:.1f}", cost, f"{row.changed:.1f}"])
        notes.append("Other answer: percent of items with another prediction than in order, right or wrong.")
    headers = ["frames", "top-1", "minus in order", "other answer"]
    tables.append(Table(f"The run {run.folder.name} itself, on the same items", headers, rows))
    return Section("scene", title, notes, tables)
