"""Teach a search by marks: how good is the ranking after 0, 10, 20 and 40 marks of a simulated user?

    python -m benchmarks.search_marks --data ../shared/data [--sets objects mixed] [--draws 4] [--out FILE.json]

Frozen `mini`. A draw divides the files of a set, by groups, into a folder and held-out files; "mixed" is all sets
together, in which a class is 0.4 to 1.8 % of the folder. Each class name is a query. The user marks ten windows at a
time, the first ten from the name alone. A file is a window.

`mAP`: mean average precision over the held-out files, which are never marked. `unmarked`: that over the unmarked files
of the folder, minus the name's over the same files. `hits`: true hits among the marks. `worse`: queries whose average
precision is more than two points below that before the first mark. Of `Marks`, also: `given`: queries with a
probability; `ECE`: expected calibration error over all held-out files of these (ten bins, points); `relevant`: that
over those of at least 10 %; `80 % and more`: how many files are said to be hits with that probability, their mean
probability and the share of true hits.

Methods mark the windows that they rank best: `name`, `nearest hit`, `Rocchio` (the name's row + the mean of the hits -
the mean of the misses), `logistic` (scikit-learn, C = 10, no name). `Marks` marks those of `next_to_mark`: half best,
half unsure; "best" and "unsure" are only the one or the other. Finished sets stay in `--out`.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import normalize

import texthead as th
from benchmarks.choosing import SETS
from texthead.apps.search.index import Index
from texthead.apps.search.marks import CALIBRATED, Marks
from texthead.features.frozen import FrozenEncoder
from texthead.features.reading import ReadOptions
from texthead.models.heads import Head
from texthead.text.class_names import clean_names

ASKED = ("objects", "clothing", "grocery", "exercise", "airborne", "thermal")

# Sets whose names tell too little to be queries, but whose files are in the mixed folder.
FILLERS = ("handdigits", "skate")

PAGE, PAGES, AT = 10, 4, (0, 10, 20, 40)

# Classes with fewer files are not asked for.
MIN_FILES = 3


class Files(NamedTuple):
    """Features, labels and groups of files."""

    features: Tensor
    labels: np.ndarray
    groups: np.ndarray


def read(names: Sequence[str], data: Path, encoder: th.Encoder) -> tuple[Files, list[str]]:
    """Return the files of some sets and the classes to ask for; equal names of several sets are one class."""
    parts: list[Files] = []
    asked: set[str] = set()
    for name in names:
        dataset = th.read_dataset(data / SETS[name])
        frozen = FrozenEncoder(encoder, reading=ReadOptions(cache=True, engine="auto"))
        items = frozen.items(dataset)
        labels = np.array(clean_names(dataset.classes))[items.targets]
        asked |= {*labels.tolist()} if name in ASKED else set()
        parts.append(Files(items.features, labels, np.array([f"{name} {group}" for group in items.groups])))
    features, labels, groups = zip(*parts, strict=True)
    return Files(torch.cat(features), np.concatenate(labels), np.concatenate(groups)), sorted(asked)


def halves(files: Files, draw: int) -> Iterator[Files]:
    """Yield the folder and the held-out files of a draw."""
    every = np.random.default_rng([draw, 7]).permutation(np.unique(files.groups))
    first = np.isin(files.groups, every[: len(every) // 2])
    for own in (first, ~first):
        yield Files(files.features[torch.from_numpy(own)], files.labels[own], files.groups[own])


def index_of(features: Tensor, encoder: th.Encoder) -> Index:
    """Return an index of these features; each window is a file."""
    count = len(features)
    spans = torch.tensor([0.0, torch.inf]).double().repeat(count, 1)
    paths = [f"/nowhere/{number}.jpg" for number in range(count)]
    return Index(paths, {}, torch.arange(count), spans, features.half(), Path("/nowhere"), encoder)


# --- methods: the marks to scores of features


@dataclass
class State:
    """A query's row, the folder's centered features of length 1, and which of them are marked as hits or misses."""

    row: np.ndarray
    folder: np.ndarray
    marks: Marks

    def marked(self, hit: bool) -> np.ndarray:
        """Return the features of the hits or of the misses."""
        return self.folder[[window for window, own in self.marks.hit.items() if own == hit]]


Score = Callable[[np.ndarray], np.ndarray]


def by_name(state: State) -> Score:
    """Score by the name alone."""
    return lambda x: x @ state.row


def nearest(state: State) -> Score:
    """Score by the nearest hit; by the name before the first."""
    hits = state.marked(True)
    return (lambda x: (x @ hits.T).max(1)) if len(hits) else by_name(state)


def rocchio(state: State) -> Score:
    """Score by the row plus the mean of the hits minus that of the misses."""
    row = state.row.copy()
    for hit, sign in ((True, 1), (False, -1)):
        if len(own := state.marked(hit)):
            row += sign * own.mean(0)
    return lambda x: x @ row


def logistic(state: State) -> Score:
    """Score by a logistic regression on the marks; by the name until there are hits and misses."""
    marks = [*state.marks.hit]
    labels = [*state.marks.hit.values()]
    if len({*labels}) < 2:
        return by_name(state)
    return LogisticRegression(C=10, max_iter=1000).fit(state.folder[marks], labels).decision_function


PLAIN = {"name": by_name, "nearest hit": nearest, "Rocchio": rocchio, "logistic": logistic}
OWN = BEST, BOTH, UNSURE = "Marks, best", "Marks, best and unsure", "Marks, unsure"


# --- one query


class Row(NamedTuple):
    """The result of a query after some marks, in percent; what `main` prints of it is in the module's docstring."""

    held_out: float
    unmarked: float
    name: float
    hits: int
    probabilities: tuple[list[float], list[bool]] | None


def precision(scores: np.ndarray, wanted: np.ndarray) -> float:
    """Return the average precision in percent; nan without a wanted file."""
    right = wanted[np.argsort(-scores, kind="stable")]
    return 100 * float((right.cumsum() / np.arange(1, len(right) + 1))[right].mean()) if right.any() else np.nan


def ask(name: str, row: Tensor, folder: Files, tests: Files, index: Index, method: str) -> list[Row]:
    """Return the rows of a query after 0, 10, 20 and 40 marks."""
    wanted, goal = folder.labels == name, tests.labels == name
    x, q = (normalize(each.features - index.center, dim=-1).numpy() for each in (folder, tests))
    state, rows = State(row.numpy(), x, Marks(index, name, row)), list[Row]()
    for marked in range(0, PAGE * PAGES + 1, PAGE):
        head = state.marks.head() if marked and method in OWN else None
        if head:
            scores, odds = _odds(head, folder.features), _odds(head, tests.features)
        else:
            score = PLAIN.get(method, by_name)(state)
            scores, odds = score(x), score(q)
        free = np.setdiff1d(np.arange(len(x)), [*state.marks.hit])
        if marked in AT:
            own = precision(scores[free], wanted[free]), precision((x @ state.row)[free], wanted[free])
            said = (1 / (1 + np.exp(-odds))).tolist(), goal.tolist()
            hits, calibrated = sum(state.marks.hit.values()), head and CALIBRATED in head.kind
            rows.append(Row(precision(odds, goal), *own, hits, said if calibrated else None))
        ranked = free[np.argsort(-scores[free], kind="stable")].tolist()
        sure, unsure = ranked[:PAGE], list[int]()
        if head and method != BEST:
            # The unsure half of a double page is a page.
            sure, unsure = state.marks.next_to_mark(head, ranked, PAGE if method == BOTH else 2 * PAGE)
        for window in (*(sure if method != UNSURE else ()), *unsure) if unsure else sure[:PAGE]:
            state.marks.hit[window] = bool(wanted[window])
    return rows


@torch.inference_mode()
def _odds(head: Head, features: Tensor) -> np.ndarray:
    scores = head(features)
    return (scores[:, 0] - scores[:, 1]).double().numpy()


# --- tables


def calibration(rows: Sequence[Row]) -> dict[str, float]:
    """Return what the probabilities of some queries are worth; see the module's docstring."""
    given = [row.probabilities for row in rows if row.probabilities]
    said = np.concatenate([np.array(each[0]) for each in given] or [np.zeros(0)])
    true = np.concatenate([np.array(each[1]) for each in given] or [np.zeros(0)])

    def error(own: np.ndarray) -> float:
        bins = np.minimum((10 * said[own]).astype(int), 9)
        gaps = [abs((said[own] - true[own])[bins == each].sum()) for each in range(10)]
        return float(100 * sum(gaps) / max(own.sum(), 1))

    high = said >= 0.8
    return {
        "given": 100 * len(given) / len(rows),
        "ECE": error(said >= 0),
        "relevant": error(said >= 0.1),
        "files": int(high.sum()),
        "said": float(100 * said[high].mean()) if high.any() else float("nan"),
        "true": float(100 * true[high].mean()) if high.any() else float("nan"),
    }


def measure(name: str, data: Path, encoder: th.Encoder, draws: int, queries: int) -> dict[str, dict]:
    """Return the numbers of each method on one set."""
    files, asked = read([*ASKED, *FILLERS] if name == "mixed" else [name], data, encoder)
    rows_of = dict(zip(asked, encoder.familiarity_scaled_rows(asked, asked), strict=True))
    results: dict[str, list[list[Row]]] = {method: [] for method in (*PLAIN, *OWN)}
    for draw in range(draws):
        folder, tests = halves(files, draw)
        index = index_of(folder.features, encoder)
        picked = np.random.default_rng([draw, 8]).permutation(asked)
        counts = [min((folder.labels == each).sum(), (tests.labels == each).sum()) for each in picked]
        picked = [str(each) for each, count in zip(picked, counts, strict=True) if count >= MIN_FILES][:queries]
        for each in picked:
            for method, rows in results.items():
                rows.append(ask(each, rows_of[each], folder, tests, index, method))
    return {method: summary(rows) for method, rows in results.items()}


def summary(queries: list[list[Row]]) -> dict:
    """Return the means over queries after each number of marks."""
    table = np.array([[row[:4] for row in rows] for rows in queries], float)
    held_out, unmarked, name, hits = np.moveaxis(table, -1, 0)
    lists = {
        "mAP": held_out,
        "unmarked": unmarked - name,
        "hits": hits,
        "worse": 100.0 * (held_out < held_out[:, :1] - 2),
    }
    values = {key: np.nanmean(each, 0).round(2).tolist() for key, each in lists.items()}
    own = {str(at): calibration([rows[i] for rows in queries]) for i, at in enumerate(AT) if at}
    return {
        **values,
        "queries": len(queries),
        **({"calibration": own} if any(c["given"] for c in own.values()) else {}),
    }


def table(results: dict[str, dict[str, dict]]) -> str:
    """Return the tables as Markdown."""
    ends = [f"{at} marks" for at in AT]
    lines = [f"| set | method | {' | '.join(ends)} | unmarked | hits | worse |", "|---" * (len(AT) + 5) + "|"]
    for name, methods in results.items():
        for method, own in methods.items():
            cells = [f"{value:.1f}" for value in own["mAP"]]
            cells += [" / ".join(f"{value:{form}}" for value in own[key][1:]) for key, form in _REST]
            lines.append(f"| {name} ({own['queries']}) | {method} | {' | '.join(cells)} |")
    for method in (*PLAIN, *OWN):
        maps = np.array([methods[method]["mAP"] for methods in results.values()])
        gains = maps - np.array([methods["name"]["mAP"] for methods in results.values()])
        cells = [
            f"{own.mean():.1f}" + (f" ({gain.mean():+.1f}: {gain.min():+.1f} to {gain.max():+.1f})" if at else "")
            for own, gain, at in zip(maps.T, gains.T, AT, strict=True)
        ]
        rest = [" / ".join(f"{v:{form}}" for v in _mean(results, method, key)[1:]) for key, form in _REST]
        lines.append(f"| mean (gain over the name: worst to best set) | {method} | {' | '.join([*cells, *rest])} |")
    lines += ["", "| set | marks | given | ECE | relevant | 80 % and more: files | said | true |", "|---" * 8 + "|"]
    for name, methods in results.items():
        for at, own in methods[BOTH].get("calibration", {}).items():
            cells = [f"{own[key]:.0f}" for key in ("files", "said", "true")]
            lines.append(
                f"| {name} | {at} | {own['given']:.0f} % | {own['ECE']:.1f} | {own['relevant']:.1f} | "
                f"{' | '.join(cells)} |"
            )
    return "\n".join(lines)


_REST = (("unmarked", "+.1f"), ("hits", ".1f"), ("worse", ".0f"))


def _mean(results: dict[str, dict[str, dict]], method: str, key: str) -> np.ndarray:
    return np.mean([methods[method][key] for methods in results.values()], 0)


def main() -> None:
    """Compute missing sets, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=[*ASKED, "mixed"], choices=[*ASKED, "mixed"])
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--queries", type=int, default=12, help="class names of a draw, at most")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("search_marks.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(options.out.read_text()) if options.out.is_file() else {}
    for name in options.sets:
        if name not in results:
            results[name] = measure(name, options.data, th.load_encoder("mini"), options.draws, options.queries)
            options.out.write_text(json.dumps(results, indent=1) + "\n")
            print(name, flush=True)
    print(table({name: results[name] for name in options.sets}))


if __name__ == "__main__":
    main()
