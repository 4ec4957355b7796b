"""Fine-tuning on multi-label data: binary cross-entropy, and the same promises as with one label."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from made import SPEC, write_image
from messages import refuses
from texthead.data.dataset import Dataset, Item
from texthead.data.labels import split_labels
from texthead.errors import DataError, RunError
from texthead.evaluation.evaluate import evaluate
from texthead.evaluation.results import MultiLabelEvaluation
from texthead.models.heads import FrozenHead
from texthead.models.multilabel_head import MultiLabelHead
from texthead.models.recognizer import Recognizer
from texthead.prediction.load import load_run
from texthead.training.train import fine_tune
from training_runs import NAMES, RECIPE, assert_same_weights, draw, losses, make_model

SHORT = replace(RECIPE, epochs=3, batch=4, frames=1)
LABELS = ("red", "blue; red", "", "blue", "red", "blue; red", "blue", "")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("several")
    colours = {"red": "red", "blue": "blue", "blue; red": "blue", "": "green"}
    items = [
        Item(write_image(folder / f"{i}.png", colours[label], seed=i), split_labels(label), "train")
        for i, label in enumerate(LABELS)
    ]
    return Dataset(tuple(items), "made here", multilabel=True)


def model() -> Recognizer:
    head = FrozenHead(draw(2, SPEC.dim), names=NAMES, scale=10.0)
    return make_model(head=MultiLabelHead(head, bias=torch.tensor([-1.0, 0.5]), thresholds=torch.zeros(2)))


def test_the_loss_is_binary_cross_entropy_summed_over_classes(data: Dataset, tmp_path: Path) -> None:
    one_step = replace(SHORT, epochs=1, warmup=0.0, batch=8, flip=0.0, lr=0.0, lr_new=0.0)
    records = fine_tune(model(), data, data, one_step, out=tmp_path / "run")
    before = model().eval()
    scored = evaluate(before, data, load_run(tmp_path / "run").protocol)
    assert isinstance(scored, MultiLabelEvaluation)
    expected = F.binary_cross_entropy_with_logits(scored.scores, scored.targets.float(), reduction="sum") / len(data)
    assert losses(records) == pytest.approx([float(expected)], rel=0.2)  # Training crops differ from test crops.
    assert [record["mean_ap"] for record in records if record["kind"] == "val"] == pytest.approx([scored.rate[0]])
    assert "train_top1" not in records[0]


def test_rows_stay_biases_learn_and_the_run_is_restored(data: Dataset, tmp_path: Path) -> None:
    trained = model()
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    records = fine_tune(trained, data, None, SHORT, out=tmp_path / "run")
    assert losses(records)[-1] < losses(records)[0]
    after = trained.state_dict()
    assert torch.equal(after["head.head.weight"], before["head.head.weight"])
    assert not torch.equal(after["head.bias"], before["head.bias"])
    run = load_run(tmp_path / "run")
    assert run.model.multilabel
    assert_same_weights(run.model.state_dict(), after)
    run.model.head.head.kind = "linear"
    with refuses(RunError, run.folder, "linear", "head=text"):
        run.with_classes(["a kite"])


@pytest.mark.parametrize("scale", ["learned", None, 10.0])
def test_the_logit_scale_is_trained_only_if_learned_and_then_as_pretrained(data, tmp_path, scale) -> None:
    trained = model()
    fine_tune(trained, data, None, replace(SHORT, scale=scale, lr=1e-3, lr_new=0.0), out=tmp_path / "run")
    assert (trained.head.scale != pytest.approx(10.0)) == (scale == "learned")
    again = model()
    fine_tune(again, data, None, replace(SHORT, scale=scale, lr=0.0, lr_new=1e-3), out=tmp_path / "again")
    assert again.head.scale == pytest.approx(10.0)


@pytest.mark.parametrize("validated", [True, False])
def test_the_threshold_is_that_of_items_after_training(data: Dataset, tmp_path: Path, validated: bool) -> None:
    """A head that was far from its data before training says yes as often as items have labels after it."""
    trained = model()
    trained.head.thresholds.fill_(-50.0)
    fine_tune(trained, data, data if validated else None, replace(SHORT, epochs=20, lr_new=0.1), out=tmp_path / "run")
    run = load_run(tmp_path / "run")
    scored = evaluate(run.model, data, run.protocol)
    assert isinstance(scored, MultiLabelEvaluation)
    assert scored.f1[0] > replace(scored, thresholds=-50.0).f1[0] + 10
    assert scored.predicted.sum() <= 1.5 * scored.targets.sum()


def test_head_and_labels_are_of_one_kind(data: Dataset, tmp_path: Path) -> None:
    with refuses(DataError, "multi-label", "single-label"):
        fine_tune(make_model(), data, None, SHORT, out=tmp_path / "run")
    single = replace(data, multilabel=False, items=tuple(replace(item, labels=("red",)) for item in data.items))
    with refuses(DataError, "single-label", "multi-label"):
        fine_tune(model(), single, None, SHORT, out=tmp_path / "run")
