"""`python -m tools.charts`: charts of the docs, from the tables of BENCHMARKS.md and docs/decisions.md."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

ASSETS = Path("docs/assets")
COLOURS = ("#b5b5b5", "#6f8faf", "#c2572b")


def rows_of(section: str, page: str = "BENCHMARKS.md") -> list[list[str]]:
    """Return the cells of the table rows in a section of a page."""
    text = Path(page).read_text(encoding="utf-8")
    body = re.split(r"\n##+ ", text.partition(f"# {section}\n")[2])[0]
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in body.splitlines() if line[:1] == "|"]


def number(cell: str) -> float:
    """Return the first number of a cell, 0 if it has none."""
    found = re.search(r"[-+]?\d+(\.\d+)?", cell)
    return float(found[0]) if found else 0.0


def bars(name: str, title: str, groups: Sequence[str], series: Mapping[str, Sequence[float]]) -> None:
    """Write a bar chart: one group of bars per entry of `groups`, one colour per series."""
    mpl.rcParams |= {"svg.hashsalt": "texthead", "svg.fonttype": "none", "font.size": 10}
    figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
    width = 0.8 / len(series)
    for index, (label, values) in enumerate(series.items()):
        places = [position + (index - (len(series) - 1) / 2) * width for position in range(len(groups))]
        drawn = axes.bar(places, values, width, label=label, color=COLOURS[index - len(series)])
        axes.bar_label(drawn, fmt="%.1f", fontsize=8)
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xticks(range(len(groups)), groups)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=len(series), loc="upper left", bbox_to_anchor=(0, -0.2))
    figure.savefig(ASSETS / f"chart-{name}.svg", metadata={"Date": None})


def main() -> None:
    """Write all charts."""

    def column(rows: Sequence[Sequence[str]], index: int, read: Callable[[str], float] = number) -> list[float]:
        return [read(row[index]) for row in rows]

    rows = [row for row in rows_of("Unbalanced labels") if row[1] == "2/20"]
    methods = {"logistic regression, balanced": 4, "the same, C by cross-validation": 6, "texthead": 3}
    title = "2 labels in half of the classes, 20 in the others: mean over classes, in percent"
    bars("unbalanced", title, [row[0] for row in rows], {label: column(rows, at) for label, at in methods.items()})

    rows = [row for row in rows_of("Few labels, frozen encoder") if "worst -" in row[1]]
    title = "One label per class: what the class names add, in points (mean of 20 draws, and the worst draw)"
    worst = [number(row[1].partition("worst")[2]) for row in rows]
    groups = [row[0].replace(", ", ",\n").replace(" names", "") for row in rows]
    means = [number(row[1].partition(",")[2]) for row in rows]
    bars("names", title, groups, {"worst draw": worst, "mean": means})

    rows = rows_of("Wrong labels")[2:]
    title = "5 % wrong labels: found among the first 10 % of doctor's ranking, in percent"
    series = {"replaced by a similar class": column(rows, 4), "replaced by a random class": column(rows, 3)}
    bars("wrong-labels", title, [row[0] for row in rows], series)

    rows = [row for row in rows_of("Several labels per file") if row[0] == "objects" and row[1].isdigit()]
    title = "Mosaics of two photos of objects: mAP over classes, in percent (mean of 8 draws)"
    groups = [f"{row[1]} positive photo{'s' * (row[1] != '1')} a class" for row in rows]
    methods = {"one-vs-rest logistic regression": 3, "the same, C by cross-validation": 4, "texthead": 9}
    bars("several", title, groups, {label: column(rows, at) for label, at in methods.items()})

    rows = rows_of("Broader names", "docs/decisions.md")[2:]
    groups = [f"{row[0]}, {row[1]} items per class" for row in rows]
    series = {
        "threshold: the class": column(rows, 2),
        "tree: the class": column(rows, 4),
        "tree: the class or a broader name": column(rows, 3),
    }
    title = "Known files with a right answer, at 5 % wrong answers to unknown files, in percent (mean of 20 draws)"
    bars("broader", title, [group.replace(", ", ",\n") for group in groups], series)


if __name__ == "__main__":
    main()
