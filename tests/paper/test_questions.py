"""Open questions of the trackers: each command on drawn media, and the numbers that its table rests on."""

import numpy as np
import pytest
import torch

from made import COLOURS, colour_model, write_untrained, write_video
from paper import branches, scene, unknown
from paper.__main__ import main
from paper.questions import FOLDS, TITLES, folds


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def answer(kept, capsys):
    """Return a function that runs a command and returns the cells of each row of its table, by the row's title."""

    def run(*words: object) -> dict[str, list[str]]:
        assert main([*map(str, words), "--kept", str(kept), "--workers", "0"]) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
        rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]
        return {title: cells for title, *cells in rows}

    return run


@pytest.fixture
def colours(tmp_path):
    """Class folders of twelve videos of each colour, with a white square that moves."""
    for name in COLOURS:
        for i in range(12):
            write_video(tmp_path / "colours" / name / f"{i}.mp4", name, frames=8, seed=i, codec="mpeg4")
    return tmp_path / "colours"


def number(cell: str) -> float:
    return float(cell.split()[0])


def test_a_background_keeps_only_what_stands_still(tmp_path, colours, answer):
    run = write_untrained(tmp_path / "run", colour_model(), frames=6)
    rows = answer("scene", run, "--data", colours)
    assert [number(rows[name][0]) for name in (*scene.VARIANTS, "in any order")] == [100] * 4
    assert rows["in any order"][1] == "does not see the order"
    # A clip of red, with a band of blue in a third of the frames.
    clip = torch.zeros(1, 6, 3, 32, 32, dtype=torch.uint8)
    clip[:, :, 0], clip[:, 2:4, 2] = 200, 200
    model = colour_model()
    features = scene.Scenes(model.visual, model.temporal, model.head).features(clip).unflatten(-1, (3, -1))[0]
    still = clip * torch.tensor([1, 1, 0], dtype=torch.uint8)[:, None, None]
    with torch.inference_mode():
        expected = torch.cat([model.features(each) for each in (clip, clip[:, 3:4], still)])
    assert torch.allclose(features, expected, atol=1e-4)


def test_area_under_the_curve_and_its_interval():
    assert unknown.placements(np.array([3.0, 1.0]), np.array([0.0, 1.0, 2.0, 9.0])).tolist() == [0.75, 0.375]
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        known, others = rng.normal(1, 1, 60), rng.normal(0, 1, 40)
        places = unknown.placements(known, others), 1 - unknown.placements(others, known)
        _, low, high = unknown.area(*places, [*map(str, range(60))], [*map(str, range(40))])
        covered += low < 76.02 < high  # The normal distribution function at 1 / sqrt(2).
    assert 0.92 < covered / 400 < 0.98


@pytest.mark.parametrize("method", [unknown.SOFTMAX, unknown.ENTROPY, unknown.OURS])
def test_the_limit_of_an_unknown_item_comes_from_the_other_half(method):
    """Of 20 items, the limit that accepts 5 % is the surest: no item exceeds a limit of its own half."""
    scores = torch.randn(2, 40, 5, generator=torch.Generator().manual_seed(0)).double()
    scores[1, 0] = torch.tensor([50.0, 0, 0, 0, 0])
    half = np.resize([0, 1], 40)
    _, (_, accepted) = unknown.judge(method, (scores[0], scores[1]), scores[0].argmax(1), (half, half))
    assert accepted[0]


def test_the_weight_of_a_branch_comes_from_other_items(tmp_path, colours, answer):
    good, bad = colour_model(), colour_model()
    bad.head.weight.copy_(bad.head.weight.roll(1, 0))
    runs = [write_untrained(tmp_path / name, model) for name, model in (("good", good), ("bad", bad))]
    rows = answer("branches", *runs, "--data", colours)
    assert [number(cells[1]) for cells in rows.values()] == [100, 0, 100, 100, 100]
    # On noise, the best weight on the scored items claims a gain that the folds do not find.
    generator, gains, claims = torch.Generator().manual_seed(0), [], []
    for _ in range(60):
        scores, targets = torch.randn(2, 60, 5, generator=generator), torch.randint(5, (60,), generator=generator)
        fold = torch.from_numpy(1 + folds([*map(str, range(60))], FOLDS))
        both, *others, _ = branches.crossed([*scores.double()], targets, fold)
        claimed = branches.mix(both, branches.best(both, targets))
        mix, better, claim = ((each.argmax(1) == targets).double().mean() for each in (*others, claimed))
        gains, claims = [*gains, float(mix - better)], [*claims, float(claim - better)]
    assert abs(np.mean(gains)) < 0.02 < 0.04 < np.mean(claims)


@pytest.mark.nightly("paper")
@pytest.mark.parametrize("name", TITLES)
def test_stand_ins_at_smoke(name, answer):
    assert all("(" in " ".join(cells) for cells in answer(name, "--scale", "smoke").values())
