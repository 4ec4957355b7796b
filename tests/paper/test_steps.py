"""Steps in order: the best alignment with the frames, which means of frames cannot have."""

from itertools import combinations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import texthead as th
from made import SPEC, joined_colours, noise
from paper.steps import AllFrames, align, steps_head
from run_folders import put


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


STEPS = {"ab": ("a", "b"), "ba": ("b", "a"), "abc": ("a", "b", "c"), "a": ("a",)}


def test_scores_are_those_of_each_class_alone(encoder):
    head, features = steps_head(encoder, STEPS), noise(2, 5, SPEC.dim)
    frames, scores = F.normalize(features, dim=-1), head(features.flatten(1))
    rows = dict(zip("abc", encoder.text_rows(["a", "b", "c"]), strict=True))
    for i, steps in enumerate(STEPS.values()):
        similarity = F.linear(frames, torch.stack([rows[step] for step in steps])).numpy()
        expected = [encoder.scale * best_by_hand(each) for each in similarity]
        np.testing.assert_allclose(scores[:, i].detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    views = head(features.flatten(1).expand(3, 2, -1))
    assert torch.allclose(views, scores.expand(3, 2, -1), atol=1e-5)
    back = head(features.flip(1).flatten(1))
    assert torch.allclose(scores[:, 0], back[:, 1], atol=1e-5)
    assert (scores[:, 0] - scores[:, 1]).abs().min() > 1e-3
    assert head(noise(1, 2 * SPEC.dim))[0, 2] == -torch.inf, "three steps need three frames"


def test_a_run_predicts_steps(tmp_path):
    encoder, orders = th.load_encoder("mini"), {"forth": ("red", "blue"), "back": ("blue", "red")}
    for name, order in orders.items():
        joined_colours(tmp_path / f"{name}.mkv", order)
    head = steps_head(encoder, {name: [f"a {each} wall" for each in order] for name, order in orders.items()})
    model = th.Recognizer(encoder.visual, AllFrames(), head)
    run = th.load_run(put(tmp_path / "run", model, th.Recipe(name="test", frames=4, temporal="all-frames")))
    paths = [tmp_path / f"{name}.mkv" for name in orders]
    assert [each.top[0][0] for each in run.predict(paths)] == [*orders]
