"""What a notebook shows: escaped tables, and progress bars in a kernel only."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from made import noise, tiny_visual, write_image
from texthead.apps.doctor.findings import Finding
from texthead.apps.doctor.overview import overview_of
from texthead.apps.doctor.page import Diagnosis
from texthead.apps.doctor.wrong_labels import JudgedLabels
from texthead.apps.timeline.events import Event, Hysteresis
from texthead.apps.timeline.results import Events
from texthead.data.dataset import Dataset, Item
from texthead.evaluation.calibration import Calibration, Coverage, Threshold
from texthead.evaluation.results import WORST, Evaluation
from texthead.features.frozen import FrozenFiles, FrozenItems
from texthead.models import MeanPool, Recognizer
from texthead.models.heads import FrozenHead
from texthead.notebook import MOST_ROWS, html_table, in_notebook
from texthead.parallel.progress import Reporter, silent
from texthead.prediction.formats import Prediction, Predictions
from texthead.recipes import small
from texthead.runs.run import load_run
from texthead.runs.scores import RunScores, Score, write_scores
from texthead.training.train import fine_tune
from texthead.transfer.comparison import MethodScores
from texthead.transfer.methods import Folds

HOSTILE = "<script>alert('x')</script>"


def escaped(html: str) -> str:
    """Return the HTML after checking that the hostile name is escaped."""
    assert "<script" not in html
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in html
    return html


# --- tables


def test_a_table_escapes_all_its_text() -> None:
    html = html_table([HOSTILE, "n"], [[HOSTILE, 1]], caption=HOSTILE, notes=[HOSTILE])
    assert escaped(html).count("&lt;script") == 4
    assert "\\x1b" in html_table(["name"], [["\x1b[31m"]])


def test_numbers_are_aligned_and_long_tables_are_cut() -> None:
    html = html_table(["name", "n", "rate"], [["a", 1, 66.666], ["b", None, None]], caption="c", notes=["d"])
    assert html.count("text-align: right") == 6
    assert ">66.7</td>" in html
    assert html.count("></td>") == 2
    assert "color: inherit" in html
    assert not [colour for colour in ("#", "white", "black") if colour in html], "dark pages stay readable"
    html = html_table(["n"], [[number] for number in range(MOST_ROWS + 5)])
    assert html.count("<td") == MOST_ROWS
    assert "5 more rows" in html


def evaluation(names: tuple[str, ...], targets: list[int], answers: list[int]) -> Evaluation:
    paths = [Path(f"{i}.png") for i in range(len(targets))]
    return Evaluation(names, paths, torch.tensor(targets), torch.eye(len(names))[answers])


SPLITS = ((HOSTILE, "train"), (HOSTILE, "train"), ("b", "test"), ("b", None))
TOP = ((HOSTILE, 0.75), ("b", 0.2), ("c", 0.04), ("d", 0.01))
UNREADABLE = Prediction(Path("b.png"), error="no image")
TESTED = {HOSTILE: evaluation((HOSTILE, "b"), [0, 0, 1, 1], [0, 0, 0, 0])}
ITEMS = FrozenItems(
    Dataset(tuple(Item(Path(f"{name}.png"), "a") for name in "abcd")), torch.zeros(4, 1), torch.zeros(4).long()
)
VALIDATED = {HOSTILE: evaluation((HOSTILE, "b"), [0, 0, 0, 0], [0, 0, 1, 0])}
LEAK = Finding("serious", "leak", HOSTILE, "is in two splits", (0, 1))
FAULTY = Diagnosis(ITEMS.data, (), overview_of((), (), ()), [LEAK], {}, lines=("no labels are judged",))
SCORES = MethodScores(VALIDATED, TESTED, "test", ITEMS, Folds([([], [0, 1, 2, 3])], True))


@pytest.mark.parametrize(
    ("result", "texts"),
    [
        (
            Dataset(tuple(Item(Path(f"{i}.png"), label, split) for i, (label, split) in enumerate(SPLITS))),
            ("4 items of 2 classes", ">train</th>", ">test</th>", ">no split</th>", ">2</td>"),
        ),
        (
            evaluation(("good", HOSTILE), [0, 0, 1, 1], [0, 0, 0, 1]),
            ("top-1 75.0 % (95 % interval 19.4-99.4), 4 items", ">good (1)</td>"),
        ),
        (
            evaluation(("good", HOSTILE), [0, 0, 0, 1], [0, 0, 1, 1]),
            ("top-1 75.0 % (95 % interval 19.4-99.4), mean over classes 83.3 % (", "), 4 items"),
        ),
        (
            Predictions([Prediction(Path("a.png"), TOP), UNREADABLE]),
            ("(75.0 %)", ">c (4.0 %)<", "not readable: no image"),
        ),
        (
            Events([Event(HOSTILE, 0.5, 2.25, 0.75, 0.8)], "film.mp4", Hysteresis(), seconds=9.0),
            ("film.mp4: 1 events", ">0.5</td>", ">75 %</td>"),
        ),
        (FAULTY, ("4 items of 1 class: 1 serious, 0 warnings, 0 notes", ">leak</td>", "no labels are judged")),
        (SCORES, (">cross-validated</th>", ">test</th>", "75.0 (19.4-99.4)", "50.0 (6.8-93.2)")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_result_is_a_table(result: Any, texts: tuple[str, ...]) -> None:
    html = escaped(result._repr_html_())
    assert not [text for text in texts if text not in html]


def test_results_without_items_are_tables_too() -> None:
    assert "0 items of 0 classes" in Dataset(())._repr_html_()
    data = Dataset((Item(Path("0.png"), "a", "train"), Item(Path("1.png"), "b", "test")), "toys")
    assert repr(data) == "Dataset('toys': 2 items of 2 classes, 1 train, 1 test)"
    assert ">items</th>" in Dataset((Item(Path("0.png"), "a", None),))._repr_html_()
    assert "0 files" in Predictions()._repr_html_()
    assert "not readable: no image" in Predictions([UNREADABLE])._repr_html_()
    assert "cross-validated" not in replace(SCORES, validated={})._repr_html_()


def test_results_have_a_short_text_too() -> None:
    result = evaluation(("a", "b"), [0, 0, 1, 1], [0, 0, 0, 1])
    assert repr(result) == "Evaluation(4 items of 2 classes, top-1 75.0 %, 95 % interval 19.4-99.4)"
    assert repr(evaluation(("a", "b"), [0, 0, 0, 1], [0, 0, 1, 1])).count("mean over classes 83.3 % (") == 1
    assert repr(ITEMS) == "FrozenItems(Dataset('': 4 items of 1 classes), 1 features, 0 unreadable)"
    assert repr(FrozenFiles([0], torch.zeros(1, 3))) == "FrozenFiles(1 files, 3 features, 0 unreadable)"
    made = Calibration(1.234, 40, Threshold(0.05, 0.5, 20), Coverage(0.9, 1.0), content=frozenset(map(str, range(99))))
    assert repr(made) == "Calibration(temperature 1.23 from 40 items, threshold, sets)"
    assert repr(JudgedLabels(agreement=0.9)) == "JudgedLabels(0 to check, 90 % of 0 labels agree with the other items)"
    assert repr(SCORES) == f"MethodScores(top-1 in percent, cross-validated: {HOSTILE} 75.0, test: {HOSTILE} 50.0)"


def test_evaluation_shows_worst_classes() -> None:
    html = evaluation(("good", HOSTILE), [0, 0, 1, 1], [0, 0, 0, 1])._repr_html_()
    assert html.index("script") < html.index(">good<")
    names = tuple(f"class {i}" for i in range(WORST + 3))
    html = evaluation(names, list(range(WORST + 2)), [0] * (WORST + 2))._repr_html_()
    assert "top-5" in html
    assert html.count("<tr>") == WORST + 1
    # A class without items has no rate.
    assert f"the {WORST} worst of {WORST + 2} classes" in html


def test_predictions_show_three_classes_and_what_is_none_of_them() -> None:
    assert ">d (" not in Predictions([Prediction(Path("a.png"), TOP)])._repr_html_()
    unknown = Predictions([Prediction(Path("a.png"), TOP[1:], known=False)])._repr_html_()
    assert "none of these (best: b (20.0 %))" in unknown


# --- a run, and progress bars


RECIPE = small(frames=1, size=32, epochs=2, batch=2, temporal="mean")


def test_a_run_shows_classes_recipe_and_scores(tmp_path: Path) -> None:
    labels, visual = (HOSTILE, "red"), tiny_visual()
    data = Dataset(tuple(Item(write_image(tmp_path / f"{i}.png", "red", i), labels[i % 2]) for i in range(8)))
    model = Recognizer(visual, MeanPool(), FrozenHead(noise(2, visual.spec.dim), names=labels))
    fine_tune(model, data, None, RECIPE, out=tmp_path / "run")
    write_scores(
        tmp_path / "run", RunScores("test", (Score("this run", 4, 50.0, 15.0, 85.0, (50.0, 15.0, 85.0), 100.0, 3.0),))
    )
    run = load_run(tmp_path / "run")
    assert repr(run) == f"Run({str(tmp_path / 'run')!r}, 2 classes)"
    html = escaped(run._repr_html_())
    for text in ("2: ", "small: 1 frames, 32 pixels, 2 epochs", "8 to train, 0 held out", "50.0 % (15.0-85.0), 4 test"):
        assert text in html


class Shell(ModuleType):
    """A fake IPython module with a kernel."""

    def __init__(self) -> None:
        super().__init__("IPython")
        self.kernel: object | None = object()

    def get_ipython(self) -> Any:
        return self


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    shell = Shell()
    monkeypatch.setitem(sys.modules, "IPython", shell)
    return shell


def test_only_a_kernel_is_a_notebook(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_notebook()
    shell.kernel = None  # IPython in a terminal
    assert not in_notebook()
    monkeypatch.setattr(shell, "get_ipython", lambda: None)
    assert not in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()


def test_a_bar_is_drawn_and_removed_even_after_an_error(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("texthead.parallel.progress._DELAY_SECONDS", 0)
    with pytest.raises(ZeroDivisionError), Reporter().bar("read", "files") as bar:
        bar(2, 2)
        raise ZeroDivisionError
    *_, drawn, cleared, last = capsys.readouterr().err.split("\r")
    assert drawn.startswith("read: ")
    assert cleared.strip() == last == ""


def test_short_work_shows_no_bar(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter().bar("read", "files") as bar:
        bar(1, 1)
    assert capsys.readouterr().err.strip() == ""


def test_the_caller_s_function_is_called_instead(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[int, int]] = []
    with Reporter().counting(lambda *done: seen.append(done)).bar("read", "files") as progress:
        progress(1, 2)
    assert seen == [(1, 2)]
    assert capsys.readouterr().err == ""


def test_outside_a_notebook_nothing_is_shown() -> None:
    with Reporter().bar("read", "files") as progress:
        assert progress is silent
