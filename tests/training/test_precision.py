"""bf16 on a CPU: what it leaves in float32, and a trial of it that changes nothing but the choice."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from made import write_image
from messages import prints
from texthead.data.batches import epoch_batches
from texthead.data.dataset import Dataset, Item
from texthead.encoders.load import load_encoder
from texthead.errors import RunError
from texthead.models.heads import FrozenHead
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import MeanPool, TemporalTransformer
from texthead.parallel.testing import processes
from texthead.recipes import Recipe, small
from texthead.training import precision
from texthead.training.execution import Callbacks, Execution
from texthead.training.inputs import pixel_clips
from texthead.training.precision import Trial, settled, try_both
from texthead.training.step import forward_in, set_training
from texthead.training.train import train
from training_runs import NAMES, RECIPE, Stop, copied, losses, make_model, on_disk, stop_after

FASTER, SLOWER = Trial((3.0, 1.0), (0.7, 0.7)), Trial((1.0, 3.0), (0.7, 0.7))
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


def gradients(model: nn.Module, kind: str, *, plain: bool = False) -> Tensor:
    clips, labels = images()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    with forward_in(kind, torch.device("cpu"), plain=plain):
        logits = model(clips)
    found = torch.autograd.grad(F.cross_entropy(logits.float(), labels), weights, allow_unused=True)
    return torch.cat([grad.flatten() for grad in found if grad is not None])


def give(trial: Trial) -> Callable[..., Trial]:
    return lambda *_: trial


def never(*_: object) -> Trial:
    pytest.fail("a trial")


def recorded(out: Path) -> str:
    return json.loads((out / "recipe.json").read_text())["recipe"]["precision"]


def auto_model() -> Recognizer:
    return make_model(temporal=MeanPool())


# --- the forward pass ------------------------------------------------------------------------------------------------


def test_float32_stays_as_it_is_to_the_bit_and_bfloat16_gradients_are_near() -> None:
    model = mini()
    set_training(model, small())
    clips, labels = images()
    F.cross_entropy(model(clips), labels).backward()
    bare = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
    assert torch.equal(gradients(model, "fp32"), bare)
    half, plain = (F.cosine_similarity(gradients(model, "bf16", plain=each), bare, dim=0) for each in (False, True))
    assert half > 0.95
    assert half > plain - 0.02, "no further from float32 than autocast alone"


def test_bfloat16_leaves_large_or_strided_kernels_of_grouped_convolutions_in_float32() -> None:
    model, types = mini(), {}

    def note(module: nn.Conv2d, _inputs: object, output: Tensor) -> None:
        slow = module.groups > 1 and (module.kernel_size[0] > 3 or module.stride[0] > 1)
        types.setdefault(slow, set()).add(output.dtype)

    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    for module in convolutions:
        module.register_forward_hook(note)
    gradients(model, "bf16")
    assert types == {True: {torch.float32}, False: {torch.bfloat16}}
    types.clear()
    gradients(model, "bf16", plain=True)
    assert set.union(*types.values()) == {torch.bfloat16}


# --- the trial -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "losses_", "chosen"),
    [
        ((2.0, 1.0), (0.70, 0.705), "bf16"),
        ((1.15, 1.0), (0.70, 0.70), "bf16"),
        ((1.14, 1.0), (0.70, 0.70), "fp32"),
        ((1.0, 3.0), (0.70, 0.70), "fp32"),
        ((2.0, 1.0), (5.0, 5.2), "fp32"),
        ((2.0, 1.0), (5.0, float("nan")), "fp32"),
    ],
)
def test_bfloat16_is_chosen_where_it_is_faster_and_its_loss_agrees(
    seconds: tuple[float, float], losses_: tuple[float, float], chosen: str
) -> None:
    trial = Trial(seconds, losses_)
    assert trial.chosen == chosen
    prints(str(trial))


@pytest.mark.parametrize(("half", "chosen"), [(1.0, "bf16"), (3.0, "fp32")])
def test_a_trial_takes_the_least_of_two_times_of_each(half: float, chosen: str) -> None:
    """A clock that shows how long each pass takes: float32, bfloat16, and both again, the first ones slow."""

    def ticks() -> Iterator[float]:
        now = 0.0
        for step in (10.0, 9.0, 2.0, half):
            yield now
            now += step
            yield now

    trial = try_both(mini(), *images(), small(frames=2), clock=partial(next, ticks()))
    assert trial.seconds == (2.0, half)
    assert trial.losses[0] == pytest.approx(trial.losses[1], rel=0.02)
    assert trial.chosen == chosen


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


def test_a_run_where_bfloat16_is_slower_is_the_float32_run_to_the_bit(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial is a real one; only its times are given."""
    seen: list[str] = []
    monkeypatch.setattr(precision, "try_both", lambda *given: replace(try_both(*given), seconds=(1.0, 1.1)))
    tried = train(auto_model(), data, None, AUTO, out=tmp_path / "auto", callbacks=Callbacks(message=seen.append))
    told = train(auto_model(), data, None, replace(AUTO, precision="fp32"), out=tmp_path / "fp32")
    assert losses(tried) == losses(told)
    assert recorded(tmp_path / "auto") == "fp32"
    assert seen[0] == "precision fp32: a trial step in bf16 is 0.91 times as fast"
    assert [record["text"] for record in on_disk(tmp_path / "auto") if record["kind"] == "note"] == seen[:1]


def test_a_run_that_is_resumed_keeps_its_precision_and_tries_none(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "try_both", give(FASTER))
    whole = train(auto_model(), data, None, AUTO, out=tmp_path / "whole")
    with pytest.raises(Stop):
        train(auto_model(), data, None, AUTO, out=tmp_path / "cut", callbacks=Callbacks(stop_after(20)))
    monkeypatch.setattr(precision, "try_both", never)
    resumed = train(auto_model(), data, None, AUTO, out=tmp_path / "cut", resume=True)
    assert losses(resumed) == losses(whole)
    assert recorded(tmp_path / "whole") == recorded(tmp_path / "cut") == "bf16"
    half = train(auto_model(), data, None, replace(AUTO, precision="bf16"), out=tmp_path / "told")
    assert losses(half) == losses(whole)
    with pytest.raises(RunError, match="precision = 'bf16', not 'fp32'"):
        train(auto_model(), data, None, replace(AUTO, precision="fp32"), out=tmp_path / "cut", resume=True)


@pytest.mark.parametrize(
    ("changes", "execution"),
    [
        pytest.param({"epochs": 9}, Execution(), id="36 steps"),
        pytest.param({"freeze_encoder": True, "temporal": "transformer"}, Execution(), id="encoder frozen"),
    ],
)
def test_where_a_trial_does_not_pay_there_is_none(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict, execution: Execution
) -> None:
    monkeypatch.setattr(precision, "try_both", never)
    model = make_model() if "temporal" in changes else auto_model()
    train(model, data, None, replace(AUTO, **changes), out=tmp_path / "run", execution=execution)
    assert recorded(tmp_path / "run") == "fp32"


def _settled_by(rank_trials: tuple[Trial, Trial], data: Dataset, recipe: Recipe, out: Path) -> tuple[str, str]:
    own = rank_trials[torch.distributed.get_rank()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "try_both", give(own))
        model = auto_model()
        clips = pixel_clips(model, data, recipe)
        found, line = settled(model, clips, epoch_batches(len(clips), recipe), recipe, Execution(), out, tries=True)
    return found.precision, line


@pytest.mark.slow
def test_two_processes_take_the_precision_of_the_first(data: Dataset, tmp_path: Path) -> None:
    begun = json.dumps({"recipe": AUTO.to_json()})
    with processes(2) as run:
        for trials in ((FASTER, SLOWER), (SLOWER, FASTER)):
            (tmp_path / "recipe.json").write_text(begun)
            first, second = run(_settled_by, trials, data, AUTO, tmp_path)
            assert first == second == (trials[0].chosen, str(trials[0]))
            assert recorded(tmp_path) == trials[0].chosen
