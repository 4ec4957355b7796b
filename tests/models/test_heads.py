"""The rows of Sec. 2.2 have their stated properties, and the linear head is Eq. 1."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from made import noise
from messages import refuses
from texthead.encoders.encoder import Encoder
from texthead.errors import DataError
from texthead.models.head_rows import lda_weights
from texthead.models.heads import FrozenHead, LinearHead, TrainableHead, text_head


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def names(count: int) -> list[str]:
    return [f"class {i}" for i in range(count)]


@pytest.mark.parametrize("make", [FrozenHead, TrainableHead])
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.float16, torch.float64])
def test_rows_normalised_without_changing_input(make, dtype):
    rows = torch.tensor([[3, 4], [0, 2]], dtype=dtype)
    head = make(rows, names=names(2))
    assert head.weight.dtype == torch.float32
    assert ("weight" in dict(head.named_parameters())) == (make is TrainableHead)
    torch.testing.assert_close(head.weight.detach(), torch.tensor([[0.6, 0.8], [0.0, 1.0]]))
    assert torch.equal(rows, torch.tensor([[3, 4], [0, 2]], dtype=dtype))


def groups(classes: int, each: int, dim: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features of classes with different means and a different spread per axis, in random order."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(classes), each))
    x = rng.normal(size=(len(y), dim)) * rng.uniform(0.2, 3, dim) + rng.normal(size=(classes, dim))[y] + 7
    return torch.from_numpy(x).float(), torch.from_numpy(y)


def ledoit_wolf_of_all(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return Ledoit and Wolf's covariance (2004, lemma 3.3) of the items minus their class means, written out."""
    centered = np.concatenate([x[y == c] - x[y == c].mean(0) for c in range(y.max() + 1)])
    n, p = centered.shape
    sample = centered.T @ centered / n
    mu = np.trace(sample) / p
    distance = np.square(sample - mu * np.eye(p)).sum() / p
    noise = sum(np.square(np.outer(row, row) - sample).sum() for row in centered) / n**2 / p
    part = min(noise, distance) / distance
    return (1 - part) * sample + part * mu * np.eye(p)


SHAPES = [(2, 30, 6), (4, 30, 6), (5, 4, 40), (3, 60, 20), (5, 2, 20), (2, 2, 20)]


@pytest.mark.parametrize(("classes", "each", "dim"), SHAPES)
def test_lda_shrinks_as_ledoit_and_wolf(classes, each, dim):
    features, labels = groups(classes, each, dim)
    x, y = features.numpy().astype(float), labels.numpy()
    means = np.stack([x[y == label].mean(0) for label in range(classes)])
    expected = (means - x.mean(0)) @ np.linalg.pinv(ledoit_wolf_of_all(x, y), hermitian=True)
    rows = lda_weights(features, labels)
    assert rows.shape == expected.shape
    cosines = F.cosine_similarity(rows.double(), torch.from_numpy(expected))
    assert cosines.min() > 1 - 1e-5, cosines


@pytest.mark.parametrize("shrinkage", [None, 0.0, 0.2, 1.0])
@pytest.mark.parametrize(("classes", "each", "dim"), [(4, 30, 6), (3, 60, 20)])
def test_lda_is_scikit_learn_s_without_the_intercept(classes, each, dim, shrinkage):
    features, labels = groups(classes, each, dim)
    keep = (labels != 1) | (torch.arange(len(labels)) % 2 == 0)
    x, y = features[keep].double().numpy(), labels[keep].numpy()
    known = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(x, y)
    rows = lda_weights(features[keep], labels[keep], shrinkage=shrinkage)
    # Its rows all include the same offset for mu, which cancels between classes.
    assert np.allclose(rows, known.coef_ - known.priors_ @ known.coef_, atol=1e-4)
    assert ((x @ rows.double().numpy().T + known.intercept_).argmax(1) == known.predict(x)).all()
    # The dropped intercept matters: it holds the class means' lengths and the class shares.
    assert np.ptp(known.intercept_) > 0.1


@pytest.mark.parametrize("solver", ["lsqr", "eigen"])
@pytest.mark.parametrize(("classes", "each", "dim"), [(3, 60, 6), (4, 60, 40), (5, 4, 40)])
def test_lda_that_is_not_centered_is_scikit_learn_s_coef(solver, classes, each, dim):
    """On features with a common mean; `centered` is far from it there."""
    features, labels = groups(classes, each, dim)
    known = LinearDiscriminantAnalysis(solver=solver, shrinkage=0.1).fit(features.double().numpy(), labels.numpy())
    rows = lda_weights(features, labels, shrinkage=0.1, centered=False)
    assert np.allclose(rows, known.coef_, rtol=1e-4, atol=1e-4)
    centered = lda_weights(features, labels, shrinkage=0.1)
    assert F.cosine_similarity(centered, rows).mean() < 0.5
    # The difference is one vector for all rows.
    assert torch.allclose(rows - centered, (rows - centered)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("labels", "parts"), [([0, 0, 1], (1, 2)), ([0, 0, 2, 2], (1, 0)), ([0, 1], (0, 1)), ([0, 0, 0], (1, 2))]
)
def test_lda_needs_two_classes_of_two_items(labels, parts):
    with refuses(DataError, "LDA", *parts):
        lda_weights(noise(len(labels), 4), torch.tensor(labels))


def test_a_cosine_head_is_scale_times_cosine():
    weight, features = noise(5, 16), noise(3, 16, seed=1)
    head = FrozenHead(weight, names=names(5), scale=30.0)
    expected = 30 * F.cosine_similarity(features[:, None], weight[None], dim=-1)
    assert torch.allclose(head(features), expected, atol=1e-4)
    assert torch.equal(head.eval()(features), head.train()(features))
    assert torch.allclose(head(7 * features), expected, atol=1e-4)
    assert head(features[None, :, None]).shape == (1, 3, 1, 5)
    assert head.scale == pytest.approx(30)
    assert FrozenHead(weight, names=names(5)).scale == pytest.approx(100)


def test_a_center_is_taken_off_the_features():
    weight, features, center = noise(4, 8), noise(3, 8, seed=1), noise(8, seed=2)
    plain, centered = FrozenHead(weight, names=names(4)), FrozenHead(weight, names=names(4), center=center)
    assert torch.allclose(centered(features + center), plain(features), atol=1e-4)
    assert not torch.allclose(centered(features), plain(features), atol=1e-1)
    assert torch.equal(centered.state_dict()["center"], center)
    assert "center" not in plain.state_dict()
    center.zero_()
    assert centered.center.abs().sum() > 0


@pytest.mark.parametrize(
    ("weight", "options", "parts"),
    [
        (noise(3, 8), {}, (2, 3)),
        (noise(2, 8), {"names": ["a", "a"]}, ("'a'", "rename")),
        (noise(2, 8), {"names": ["a", " "]}, ("2 of 2",)),
        (torch.eye(3)[:2] * torch.tensor([[1.0], [0.0]]), {}, ("'b'",)),
        (noise(2, 8), {"scale": 0.0}, ("scale", 0)),
        (noise(2, 8), {"scale": -1.0}, ("scale", -1)),
    ],
)
def test_a_head_that_cannot_be(weight, options, parts):
    with refuses(DataError, *parts):
        FrozenHead(weight, **{"names": ["a", "b"], **options})


def test_linear_head_is_plain_product():
    head, features = LinearHead(8, names=names(3), generator=seeded()), noise(5, 8)
    assert torch.allclose(head(features), features @ head.weight.T, rtol=1e-6, atol=1e-6)
    assert torch.allclose(head(3 * features), 3 * head(features), atol=1e-5)
    assert not head(torch.zeros(1, 8)).any()
    assert [name for name, _ in head.named_parameters()] == ["weight"]
    assert set(head.state_dict()) == {"weight"}
    assert (head.kind, head.names) == ("linear", tuple(names(3)))


def test_the_linear_head_starts_as_torch_does_from_the_generator():
    head = LinearHead(400, names=names(50), generator=seeded(1))
    assert head.weight.abs().max() <= 1 / 20
    assert head.weight.std().item() == pytest.approx(1 / 20 / math.sqrt(3), rel=0.03)
    assert torch.equal(head.weight, LinearHead(400, names=names(50), generator=seeded(1)).weight)
    assert not torch.equal(head.weight, LinearHead(400, names=names(50), generator=seeded(2)).weight)
    with refuses(DataError, "'a'", "rename"):
        LinearHead(8, names=["a", "a"])


class Letters(Encoder):
    """An encoder whose rows count the letters of a prompt."""

    scale, center, text_source, text_map = 12.0, torch.arange(26.0), None, None

    def __init__(self):
        self.asked: list[str] = []

    def encode_text(self, prompts: list[str]) -> torch.Tensor:
        self.asked += prompts
        letters = [[prompt.lower().count(chr(97 + i)) for i in range(26)] for prompt in prompts]
        return torch.tensor(letters, dtype=torch.float32, requires_grad=True)


@pytest.fixture
def letters():
    return Letters()


def test_row_is_mean_of_prompt_directions(letters):
    rows = letters.text_rows(["run", ["run", "jump", "aaa"]])
    each = F.normalize(letters.encode_text(["run", "jump", "aaa"]), dim=-1)
    assert torch.allclose(rows[0], each[0])
    assert torch.allclose(rows[1], each.sum(0) / each.sum(0).norm())
    with refuses(DataError, "class 2 of 2"):
        letters.text_rows(["run", []])


def test_a_text_head_takes_the_encoder_s_scale_and_center(letters):
    head = text_head(letters, ["run", "jump"], template="a {}.")
    assert isinstance(head, FrozenHead)
    assert head.scale == pytest.approx(12)
    assert torch.equal(head.center, Letters.center)
    assert (head.names, head.prompts, head.kind) == (("run", "jump"), ("a run.", "a jump."), "text")
    assert torch.allclose(head.weight, letters.text_rows(["a run.", "a jump."]))
    other = text_head(letters, ["run"], scale=5.0, center=torch.ones(26))
    assert other.scale == pytest.approx(5)
    assert torch.equal(other.center, torch.ones(26))
    assert other.prompts == ("run",)
