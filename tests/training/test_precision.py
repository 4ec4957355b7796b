"""The bf16 trial on a CPU, which changes only the choice, and the run that records it."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.process_group import processes
from made import write_image
from messages import prints
from texthead.data.batches import epoch_batches
from texthead.data.clips import TrainClips
from texthead.data.dataset import Dataset, Item
from texthead.encoders.load import load_encoder
from texthead.errors import RunError
from texthead.models.heads import FrozenHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool, TemporalTransformer
from texthead.parallel.progress import Reporter
from texthead.recipes import Recipe, small
from texthead.training import Execution, precision
from texthead.training.precision import PrecisionTrial, choose_precision, try_both
from texthead.training.step import set_training
from texthead.training.train import train
from training_runs import NAMES, RECIPE, Stop, copied, losses, make_model, stop_after

FASTER, SLOWER = PrecisionTrial((3.0, 1.0), (0.7, 0.7), 1.0), PrecisionTrial((1.0, 3.0), (0.7, 0.7), 1.0)
# Eight items in batches of two: 40 steps.
AUTO = replace(RECIPE, frames=1, temporal="mean", size=24, resize=26, batch=2, epochs=10, precision="auto")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("media")
    paths = [write_image(folder / f"{i}.png", NAMES[i % 2], seed=i) for i in range(8)]
    return Dataset(tuple(Item(path, NAMES[i % 2], "train") for i, path in enumerate(paths)), "made here")


def mini(*, dropout: float = 0.0) -> Recognizer:
    encoder = load_encoder("mini")
    torch.manual_seed(0)
    temporal = TemporalTransformer(encoder.dim, 1, 32, heads=2, mlp_ratio=2, dropout=dropout)
    head = FrozenHead(torch.randn(2, encoder.dim), names=NAMES, scale=10.0)
    return Recognizer(encoder.visual, temporal, head)


def images(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (4, 2, 3, 48, 48), dtype=torch.uint8, generator=generator), torch.tensor([0, 1, 0, 1])


def give(trial: PrecisionTrial) -> Callable[..., PrecisionTrial]:
    return lambda *_: trial


def never(*_: object) -> PrecisionTrial:
    pytest.fail("a trial")


def recorded(out: Path) -> str:
    return json.loads((out / "recipe.json").read_text())["recipe"]["precision"]


def auto_model() -> Recognizer:
    return make_model(temporal=MeanPool())


# --- the trial -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "both", "cosine", "chosen"),
    [
        ((2.0, 1.0), (0.70, 0.705), 0.999, "bf16"),
        ((1.15, 1.0), (0.70, 0.70), 0.999, "bf16"),
        ((1.14, 1.0), (0.70, 0.70), 0.999, "fp32"),
        ((1.0, 3.0), (0.70, 0.70), 0.999, "fp32"),
        ((2.0, 1.0), (5.0, 5.2), 0.999, "fp32"),
        ((2.0, 1.0), (5.0, 5.0), 0.967, "fp32"),
        ((2.0, 1.0), (5.0, math.nan), math.nan, "fp32"),
    ],
)
def test_bfloat16_chosen_if_faster_and_close(
    seconds: tuple[float, float], both: tuple[float, float], cosine: float, chosen: str
) -> None:
    trial = PrecisionTrial(seconds, both, cosine)
    assert trial.chosen == chosen
    prints(str(trial))


@pytest.mark.parametrize("half", [1.0, 3.0])
def test_a_trial_takes_the_least_of_two_times_of_each(half: float) -> None:
    """A fake clock sets the time of each pass: float32, bfloat16, then both again; the first two are slow."""

    def ticks() -> Iterator[float]:
        now = 0.0
        for step in (10.0, 9.0, 2.0, half):
            yield now
            now += step
            yield now

    trial = try_both(mini(), *images(), small(frames=2), clock=partial(next, ticks()))
    assert trial.seconds == (2.0, half)


@pytest.mark.slow
def test_the_cosine_of_a_trial_is_that_of_the_gradients() -> None:
    model, (clips, labels) = mini(), images()
    set_training(model, small())
    weights, result = list(model.parameters()), []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = model(clips)
        loss = F.cross_entropy(logits.float(), labels)
        result.append(torch.cat([each.flatten() for each in torch.autograd.grad(loss, weights)]).double())
    expected = F.cosine_similarity(*result, dim=0)
    assert expected < 0.9999
    assert try_both(model, clips, labels, small()).cosine == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_trial_leaves_weights_statistics_and_generators_alone(frozen: bool) -> None:
    model = mini(dropout=0.3)
    before = copied(model)
    torch.manual_seed(3)
    generator = torch.get_rng_state()
    try_both(model, *images(), small(frames=2, freeze_batchnorm=frozen))
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())


# --- a run -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_slower_bfloat16_gives_float32_run(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial is real; only its times are faked."""
    seen: list[str] = []
    monkeypatch.setattr(precision, "try_both", lambda *given: replace(try_both(*given), seconds=(1.0, 1.1)))
    tried = train(auto_model(), data, None, AUTO, out=tmp_path / "auto", reporter=Reporter(say=seen.append))
    fixed = train(auto_model(), data, None, replace(AUTO, precision="fp32"), out=tmp_path / "fp32")
    assert losses(tried) == losses(fixed)
    assert recorded(tmp_path / "auto") == "fp32"
    assert seen[0] == "precision fp32: a trial step in bf16 is 0.91 times as fast"


@pytest.mark.slow
def test_resumed_run_keeps_precision(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "try_both", give(FASTER))
    whole = train(auto_model(), data, None, AUTO, out=tmp_path / "whole")
    with pytest.raises(Stop):
        train(auto_model(), data, None, AUTO, out=tmp_path / "cut", reporter=stop_after(20))
    monkeypatch.setattr(precision, "try_both", never)
    resumed = train(auto_model(), data, None, AUTO, out=tmp_path / "cut", resume=True)
    assert losses(resumed) == losses(whole)
    assert recorded(tmp_path / "whole") == recorded(tmp_path / "cut") == "bf16"
    half = train(auto_model(), data, None, replace(AUTO, precision="bf16"), out=tmp_path / "told")
    assert losses(half) == losses(whole)
    with pytest.raises(RunError, match="`precision` 'bf16', not 'fp32'"):
        train(auto_model(), data, None, replace(AUTO, precision="fp32"), out=tmp_path / "cut", resume=True)


@pytest.mark.parametrize("changes", [{"epochs": 9}, {"freeze_encoder": True, "temporal": "transformer"}])
def test_where_a_trial_does_not_pay_there_is_none(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict
) -> None:
    monkeypatch.setattr(precision, "try_both", never)
    model = make_model() if "temporal" in changes else auto_model()
    train(model, data, None, replace(AUTO, **changes), out=tmp_path / "run")
    assert recorded(tmp_path / "run") == "fp32"


def _settled_by(
    rank_trials: tuple[PrecisionTrial, PrecisionTrial], data: Dataset, recipe: Recipe, out: Path
) -> tuple[str, list[str]]:
    own = rank_trials[torch.distributed.get_rank()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "try_both", give(own))
        model = auto_model()
        clips = TrainClips(data, model.names, recipe, model.spec.training_pixels(recipe))
        lines: list[str] = []
        batches = epoch_batches(len(clips), recipe)
        result = choose_precision(
            model, clips, batches, recipe, Execution(), out, tries=True, reporter=Reporter(say=lines.append)
        )
    return result.precision, lines


@pytest.mark.slow
def test_two_processes_take_the_precision_of_the_first(data: Dataset, tmp_path: Path) -> None:
    begun = json.dumps({"recipe": AUTO.to_json()})
    with processes(2) as run:
        for trials in ((FASTER, SLOWER), (SLOWER, FASTER)):
            (tmp_path / "recipe.json").write_text(begun)
            first, second = run(_settled_by, trials, data, AUTO, tmp_path)
            assert (first, second) == ((trials[0].chosen, [str(trials[0])]), (trials[0].chosen, []))
            assert recorded(tmp_path) == trials[0].chosen
