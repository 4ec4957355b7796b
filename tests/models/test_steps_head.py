"""Steps in order: the best alignment with the frames, which means of frames cannot have."""

from itertools import combinations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from made import SPEC, noise, tiny_visual
from messages import refuses
from texthead.encoders.encoder import Encoder
from texthead.errors import DataError, RunError
from texthead.models import Recognizer, known_rows, text_rows
from texthead.models.heads import FrozenHead, StepsHead, TemplatesHead, align, text_head
from texthead.models.several_head import SeveralHead
from texthead.models.temporal import MeanPool, NormedMean, TemporalTransformer
from texthead.text.prompts import Steps

NAMES = ["ab", "ba", "abc", "a"]


def best_by_hand(similarity: np.ndarray) -> float:
    """Return the largest mean over frames among all ways to cut them into one piece for each step."""
    frames, steps = similarity.shape
    ways = []
    for cuts in combinations(range(1, frames), steps - 1):
        edges = [0, *cuts, frames]
        ways.append(sum(similarity[edges[i] : edges[i + 1], i].sum() for i in range(steps)) / frames)
    return max(ways, default=-np.inf)


@pytest.mark.parametrize(("frames", "steps"), [(1, 1), (1, 3), (2, 3), (3, 3), (6, 1), (7, 4), (9, 5)])
def test_alignment_is_the_best_of_all(frames, steps):
    similarity = noise(2, 3, frames, steps)
    best = align(similarity)
    assert best.shape == (2, 3, steps)
    for index in np.ndindex(2, 3):
        expected = [best_by_hand(similarity[index][:, : count + 1].numpy()) for count in range(steps)]
        np.testing.assert_allclose(best[index].numpy(), expected, rtol=1e-6, atol=1e-6)


class Words(Encoder):
    """An encoder whose sentences have fixed random rows, whatever the batch."""

    def encode_text(self, prompts) -> torch.Tensor:
        return torch.stack([noise(self.dim, seed=sum(map(ord, prompt))) for prompt in prompts])


def words() -> Encoder:
    return Words(tiny_visual(), None, scale=10.0)


def head_of(encoder: Encoder) -> StepsHead:
    prompts = [Steps(("a", "b")), Steps(("b", "a")), Steps(("a", "b", "c")), ("a", "d")]
    head = text_head(encoder, NAMES, prompts=prompts, scale=10.0, ordered=True)
    assert isinstance(head, StepsHead)
    return head


def test_scores_are_those_of_each_class_alone():
    encoder = words()
    head, features = head_of(encoder), noise(2, 5, SPEC.dim)
    frames = F.normalize(features, dim=-1)
    scores = head(features.flatten(1))
    rows = text_rows(encoder, ["a", "b", "c", ("a", "d")])
    for i, steps in enumerate([(0, 1), (1, 0), (0, 1, 2), (3,)]):
        similarity = F.linear(frames, rows[list(steps)]).numpy()
        expected = [10 * best_by_hand(each) for each in similarity]
        np.testing.assert_allclose(scores[:, i].detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    views = head(features.flatten(1).expand(3, 2, -1))
    assert torch.allclose(views, scores.expand(3, 2, -1), atol=1e-5)


def test_frames_backwards_give_the_scores_of_steps_backwards():
    head, features = head_of(words()), noise(4, 6, SPEC.dim)
    forth, back = head(features.flatten(1)), head(features.flip(1).flatten(1))
    assert torch.allclose(forth[:, 0], back[:, 1], atol=1e-5)
    assert (forth[:, 0] - forth[:, 1]).abs().min() > 1e-3
    with refuses(DataError, "3 steps", "got 2", "`frames`"):
        head(noise(1, 2 * SPEC.dim))


def test_steps_are_never_averaged_silently():
    encoder, prompts = words(), [Steps(("a", "b")), "c"]
    names = ["x", "y"]
    for make in (
        text_rows,
        lambda encoder, prompts: known_rows(encoder, names, prompts),
        lambda encoder, prompts: text_head(encoder, names, prompts=prompts),
    ):
        with refuses(DataError, "steps in order", "a, b", "list of sentences"):
            make(encoder, prompts)


def test_a_model_takes_steps_in_place_of_the_mean_and_back():
    encoder, rows = words(), FrozenHead(noise(2, SPEC.dim), names=("x", "y"))
    model = Recognizer(tiny_visual(), MeanPool(), rows).eval()
    clips = torch.randint(256, (2, 4, 3, SPEC.size, SPEC.size), dtype=torch.uint8)
    ordered = model.with_head(rows.with_names(encoder, ["x", "y"], prompts=[Steps(("a", "b")), Steps(("b", "a"))]))
    assert ordered(clips).shape == (2, 2)
    assert torch.allclose(ordered(clips)[:, 0], ordered(clips.flip(1))[:, 1], atol=1e-4)
    again = ordered.with_head(rows)
    assert isinstance(again.temporal, MeanPool)
    assert torch.allclose(again(clips), model(clips))
    for module in (TemporalTransformer(SPEC.dim, 1, 32), NormedMean(SPEC.dim)):
        with refuses(RunError, type(module).__name__, "`temporal=mean`"):
            Recognizer(tiny_visual(), module, rows).with_head(ordered.head)


def test_heads_that_cannot_score_single_frames_refuse_steps():
    rows, prompts = FrozenHead(noise(2, SPEC.dim), names=("x", "y")), [Steps(("a", "b")), "c"]
    several = SeveralHead(rows, bias=torch.zeros(2), thresholds=torch.zeros(2))
    with refuses(DataError, "steps in order"):
        several.with_names(words(), ["x", "y"], prompts=prompts)
    templates = TemplatesHead(noise(2, 2, SPEC.dim), names=("x", "y"), pooling="probabilities")
    assert isinstance(templates.with_names(words(), ["x", "y"], prompts=prompts), StepsHead)
