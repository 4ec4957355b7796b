"""The multi-label head: any head inside, log-odds, thresholds; saved, restored, edited."""

import math
from pathlib import Path

import pytest
import torch

from made import SPEC, noise, tiny_visual, write_untrained
from texthead import MeanPool, Recognizer
from texthead.encoders.encoder import Encoder, TextEncoder
from texthead.models.heads import FrozenHead, Head, LinearHead, ProbeHead, TrainableHead
from texthead.models.multilabel_head import MultiLabelHead
from texthead.prediction.load import load_run

NAMES = ["dog", "frisbee", "cat"]


def multilabel() -> MultiLabelHead:
    head = FrozenHead(noise(3, 8), names=NAMES, scale=10.0)
    return MultiLabelHead(head, bias=torch.zeros(3), thresholds=torch.tensor([0.0, -2.0, 1.0]))


def test_new_classes_get_text_rows_and_the_mean_bias() -> None:
    text = TextEncoder(
        torch.nn.Identity(), list, lambda prompts: torch.randn(len(prompts), SPEC.dim), torch.nn.Identity()
    )
    encoder, rows = Encoder(tiny_visual(), lambda: text, scale=21.0), torch.randn(3, SPEC.dim)
    head = MultiLabelHead(FrozenHead(rows, names=NAMES), bias=torch.tensor([-3.0, 0.0, 0.0]), thresholds=torch.ones(3))
    new = head.with_names(encoder, ["a red kite", "a bird"], labels=["kite", "bird"])
    assert isinstance(new, MultiLabelHead)
    assert (new.names, new.bias.tolist(), new.thresholds.tolist()) == (("kite", "bird"), [-1.0, -1.0], [1.0, 1.0])


@pytest.mark.parametrize("center", [None, torch.ones(SPEC.dim)])
def test_other_names_keep_the_center_of_the_head(center: torch.Tensor | None) -> None:
    """Not that of the encoder: the same rows give the same scores."""
    rows, features = torch.randn(3, SPEC.dim), noise(5, SPEC.dim)
    text = TextEncoder(torch.nn.Identity(), list, lambda prompts: rows, torch.nn.Identity())
    encoder = Encoder(tiny_visual(), lambda: text, scale=21.0, center=torch.full((SPEC.dim,), 9.0))
    head = FrozenHead(rows, names=NAMES, scale=21.0, center=center)
    torch.testing.assert_close(head.with_names(encoder, NAMES)(features), head(features))


def test_probabilities_do_not_compete() -> None:
    model = Recognizer(torch.nn.Identity(), MeanPool(), multilabel())
    assert model.multilabel
    assert model.probabilities(torch.zeros(2, 3)).tolist() == [[0.5] * 3] * 2
    assert not Recognizer(torch.nn.Identity(), MeanPool(), model.head.head).multilabel
    assert model.head.chosen(torch.zeros(1, 3)).tolist() == [[True, True, False]]


def heads() -> dict[str, Head]:
    """Return a head of every kind that a multi-label run can have inside."""
    rows, center, prompts = noise(3, SPEC.dim), noise(SPEC.dim, seed=1), [f"a {name}" for name in NAMES]
    return {
        "frozen": FrozenHead(rows, names=NAMES, scale=20.0, center=center, prompts=prompts),
        "trainable": TrainableHead(rows, names=NAMES, scale=20.0),
        "linear": LinearHead(SPEC.dim, names=NAMES),
        "probe": ProbeHead(rows, bias=noise(3, seed=2), center=center, names=NAMES),
    }


@pytest.mark.parametrize("kind", ["frozen", "trainable", "linear", "probe"])
def test_a_run_keeps_head_bias_and_thresholds(kind: str, tmp_path: Path) -> None:
    bias, thresholds = torch.tensor([-3.0, -4.0, -5.0]), torch.tensor([0.5, -0.25, 0.0])
    head, features = MultiLabelHead(heads()[kind], bias=bias, thresholds=thresholds).eval(), noise(5, SPEC.dim, seed=3)
    loaded = load_run(write_untrained(tmp_path / "run", Recognizer(tiny_visual(), MeanPool(), head)))
    assert torch.equal(loaded.model.thresholds, thresholds)
    assert torch.equal(loaded.head(features), head(features))
    assert torch.equal(head(features), head.head(features) + head.bias)
    assert (loaded.head.multilabel, loaded.head.frozen) == (True, head.head.frozen)
    assert torch.equal(loaded.model.probabilities(head(features)), head(features).sigmoid())
    assert (loaded.labels, loaded.head.kind, loaded.head.prompts) == (tuple(NAMES), head.kind, head.prompts)
    rows = loaded.head.rows()
    swapped = loaded.head.with_rows(rows[[2, 0]], ["cat", "dog"])
    assert swapped.thresholds.tolist() == [0.0, 0.5]
    assert torch.allclose(swapped(features), head(features)[:, [2, 0]], atol=1e-5)
    assert Recognizer(tiny_visual(), MeanPool(), heads()[kind]).thresholds is None


def test_the_threshold_is_between_half_of_the_best_f1_and_as_many_labels_as_there_are() -> None:
    log_odds = torch.tensor([[3.0, 2.0, 0.5], [1.0, -1.0, -2.0]])
    targets = torch.tensor([[True, False, True], [False, False, False]])
    head = multilabel()
    head.set_threshold(log_odds, targets)
    # The best F1 is that of the four highest scores, 2/3, or of the highest alone. Two labels end between 2 and 1.
    assert head.thresholds.tolist() == pytest.approx([(math.log(1 / 2) + 1.5) / 2] * 3)
    head.set_threshold(log_odds, torch.zeros(2, 3, dtype=torch.bool))
    assert head.thresholds.tolist() == pytest.approx([math.log(1 / 3)] * 3)


@pytest.mark.parametrize(("factor", "bias"), [(1.0, 0.0), (0.4, -1.0), (3.0, 2.0)])
def test_a_fitted_threshold_does_not_depend_on_how_sure_the_scores_are(factor: float, bias: float) -> None:
    """Scores of a fine-tuned head may be less or more sure than the labels: the same items are chosen."""
    log_odds = 2 * noise(4000, 3, seed=4) - 1.5
    targets = torch.rand(log_odds.shape, generator=torch.Generator().manual_seed(5)) < log_odds.sigmoid()
    exact, fitted = multilabel(), multilabel()
    exact.set_threshold(log_odds[:2000], targets[:2000])
    fitted.fit_threshold(factor * log_odds[:2000] + bias, targets[:2000])
    f1 = [
        2 * float((chosen & targets[2000:]).sum() / (chosen.sum() + targets[2000:].sum()))
        for chosen in (exact.chosen(log_odds[2000:]), fitted.chosen(factor * log_odds[2000:] + bias))
    ]
    assert f1[1] == pytest.approx(f1[0], abs=0.01)
