"""The `repr` of results is one short line of text, also in a notebook."""

from pathlib import Path

import torch

from made import colour_encoder
from texthead.apps.doctor.wrong_labels import JudgedLabels
from texthead.data.dataset import Dataset, Item
from texthead.data.division import Division
from texthead.evaluation.calibration import Calibration, Coverage, Threshold
from texthead.evaluation.results import Evaluation
from texthead.features.frozen import FrozenEncoder, FrozenFiles, FrozenItems
from texthead.recipes import Recipe
from texthead.transfer.comparison import MethodScores
from texthead.transfer.experiment import Experiment
from texthead.transfer.methods import Folds

ITEMS = FrozenItems(
    Dataset(tuple(Item(Path(f"{name}.png"), ("a",)) for name in "abcd")), torch.zeros(4, 1), torch.zeros(4).long()
)


def evaluation(targets: list[int], answers: list[int]) -> Evaluation:
    paths = [Path(f"{i}.png") for i in range(len(targets))]
    return Evaluation(("a", "b"), paths, torch.tensor(targets), torch.eye(2)[answers])


def test_evaluations() -> None:
    result = evaluation([0, 0, 1, 1], [0, 0, 0, 1])
    assert repr(result) == "Evaluation(4 items of 2 classes, top-1 75.0 %, 95 % interval 19.4-99.4)"
    assert repr(evaluation([0, 0, 0, 1], [0, 0, 1, 1])).count("mean over classes 83.3 % (") == 1
    tested, validated = evaluation([0, 0, 1, 1], [0] * 4), evaluation([0, 0, 0, 0], [0, 0, 1, 0])
    encoder, data = FrozenEncoder(colour_encoder()), ITEMS.data
    experiment = Experiment(Division(data, None, data, "test"), encoder, ("a",), ("a",), [None], Recipe(name="test"))
    scores = MethodScores(experiment, Folds([([], [0, 1, 2, 3])], True), {"probe": validated}, {"probe": tested})
    assert repr(scores) == "MethodScores(top-1 in percent, cross-validated: probe 75.0, test: probe 50.0)"


def test_data_and_features() -> None:
    data = Dataset((Item(Path("0.png"), ("a",), "train"), Item(Path("1.png"), ("b",), "test")), "toys")
    assert repr(data) == "Dataset('toys': 2 items of 2 classes, 1 train, 1 test)"
    assert repr(ITEMS) == "FrozenItems(Dataset('': 4 items of 1 classes), 1 features, 0 unreadable)"
    assert repr(FrozenFiles([0], torch.zeros(1, 3))) == "FrozenFiles(1 files, 3 features, 0 unreadable)"


def test_judgements() -> None:
    made = Calibration(1.234, 40, Threshold(0.05, 0.5, 20), Coverage(0.9, 1.0), content=frozenset(map(str, range(99))))
    assert repr(made) == "Calibration(temperature 1.23 from 40 items, threshold, sets)"
    assert repr(JudgedLabels(agreement=0.9)) == "JudgedLabels(0 to check, 90 % of 0 labels agree with the other items)"
