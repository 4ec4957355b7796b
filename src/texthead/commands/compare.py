"""`texthead compare`: recognisers on a frozen encoder side by side, and the best of them as a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from texthead.commands.options import (
    CacheOptions,
    DataOptions,
    ReadingOptions,
    TemplateOptions,
)
from texthead.commands.parser import NonNegativeInt, PositiveInt, argument, option
from texthead.errors import DataError, RunError
from texthead.files import locked
from texthead.recipes import small

if TYPE_CHECKING:
    from texthead.data.dataset import Dataset
    from texthead.data.protocol import Pixels
    from texthead.runs.scores import RunScores, Score
    from texthead.transfer import methods
    from texthead.transfer.comparison import Right
    from texthead.transfer.methods import FrozenItems, Ground, Method


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare zero-shot, text rows with class means, probes, frozen heads and a temporal transformer.

    All use features that are encoded once. Prints a table with intervals, and with --choose writes the best as a run.

    Args:
        data: class folders, CSV or TSV, list .txt, prepared SHARDS, or datasets:FOLDER_OR_ID
        encoder: mini, openclip:..., hf:..., timm:...; see texthead encoders
        k: draw K training items a class
        frames: frames of a clip (8)
        size: side of the crop in pixels (128)
        choose: write the best as a run, in --out
        out: the run folder to make, with --choose
        seed: random seed
    """

    NAME: ClassVar = "compare"
    HELP: ClassVar = "quick recognisers side by side, and the best as a run"
    USAGE: ClassVar = "texthead compare DATA [--k K] [--choose --out RUN] [options]"

    data: str = argument("DATA")
    labelled: DataOptions = DataOptions()
    encoder: str = "mini"
    prompts: TemplateOptions = TemplateOptions()
    k: int | None = None
    frames: PositiveInt | None = None
    size: PositiveInt | None = None
    choose: bool = False
    out: str | None = option(None, "RUN")
    seed: NonNegativeInt = 0
    features: CacheOptions = CacheOptions()
    files: ReadingOptions = ReadingOptions()

    def __call__(self) -> None:
        from texthead.commands.console import bar, notes, results, say_names
        from texthead.encoders.load import zero_shot_note
        from texthead.models.build import pixels_for
        from texthead.runs.run import check_out
        from texthead.runs.scores import RunScores
        from texthead.transfer import methods
        from texthead.transfer.comparison import Setting, encode_frozen, judged, make_ground

        if self.choose != (self.out is not None):
            raise RunError("--choose trains the best as a run and --out names its folder: give both or neither")
        out = Path(self.out or "")
        if self.choose:
            check_out(out, resume=False)
        train_set, scored, scored_name = _divided(self.labelled.read(self.data), self)
        changes = {"frames": self.frames, "size": self.size, "template": self.prompts.read_template()}
        changes = {key: value for key, value in changes.items() if value is not None}
        setting = Setting(
            self.encoder,
            clean=self.prompts.clean,
            given=frozenset(changes),
            cache=self.features.folder,
            device=self.files.pick_device(),
        )
        ground, lines = make_ground(train_set, small(**changes, seed=self.seed), setting)
        for line in lines:
            notes().print(f"note: {line}")
        say_names(ground.labels, ground.names, ground.recipe.template if ground.encoder.has_text else None)
        pixels = pixels_for(ground.recipe, ground.encoder.visual.spec)
        reading = self.files.reading()
        items, unreadable = encode_frozen(ground, train_set, pixels, reading, "encode training items", bar)
        tests = None
        if len(scored):
            tests, more = encode_frozen(ground, scored, pixels, reading, "encode held-out items", bar)
            unreadable += more
        for error in unreadable:
            notes().print(f"skipped: {error}")
        if items.data.classes != list(ground.labels):
            lost = sorted(set(ground.labels) - set(items.data.classes))
            raise DataError(f"class {lost[0]!r} has no readable training item: mend its files or remove the class")

        every = methods.methods(ground)
        folds = methods.folds(items, seed=self.seed)
        right, tested = judged(every, items, tests, folds, bar)
        first = methods.settled(every, items)
        chosen = methods.choice(first, right, items.groups) if right else first
        _show(every, right, tested, items, scored_name, chosen)
        _say_choice(right, items, folds, first, chosen)
        note = zero_shot_note(ground.encoder.source)
        if note:
            results().print(note)
        if self.choose:
            method = next(method for method in every if method.title == chosen)
            own = [tested.pop(chosen)._replace(method=f"this run ({chosen})")] if tested else []
            scores = RunScores(scored_name, (*tested.values(), *own)) if own else None
            _write(out, ground, method, items, scored, pixels, scores)
            results().print(f"run: {out}   `texthead predict {out} FILE...` uses it")


def _divided(dataset: "Dataset", command: Compare) -> "tuple[Dataset, Dataset, str]":
    """(training items, held-out items, what those are called): all train where the data has no splits.

    Validation items beside test ones are used for nothing, which is said.
    """
    from texthead.commands.console import notes
    from texthead.data.dataset import splits_of
    from texthead.data.division import divide

    for line in dataset.notes:
        notes().print(f"note: {line}")
    unused = 0
    if splits_of(dataset):
        parts = divide(dataset, seed=command.seed, part=None, k=command.k)
        train_set, scored, name = parts.train, parts.scored, parts.scored_name
        unused = splits_of(dataset).get("val", 0) if name == "test" else 0
    else:
        train_set = dataset if command.k is None else dataset.k_shot(command.k, seed=command.seed)
        scored, name = dataset.pick([]), ""
    drawn = f" (K = {command.k}, drawn with seed {command.seed})" if command.k is not None else ""
    held = f", {len(scored)} {name} items that nothing is chosen by" if len(scored) else ""
    notes().print(f"{len(train_set)} training items of {len(train_set.classes)} classes{drawn}{held}")
    if unused:
        notes().print(f"note: {unused} val item{'s are' if unused > 1 else ' is'} not used")
    return train_set, scored, name


def _show(
    every: "Sequence[Method]",
    right: "Right",
    tested: "dict[str, Score]",
    items: "FrozenItems",
    scored_name: str,
    chosen: str,
) -> None:
    """Print the table."""
    from rich.table import Table

    from texthead.commands.console import results
    from texthead.evaluation.intervals import grouped_interval

    table = Table("method", title=f"frozen encoder, {len(items.data)} training items: top-1 in percent (95 % interval)")
    folds = {title: (100 * found.mean(), *grouped_interval(found, items.groups)) for title, found in right.items()}
    scores = {title: (score.top1, score.low, score.high) for title, score in tested.items()}
    columns = [(title, found) for title, found in (("cross-validated", folds), (scored_name, scores)) if found]
    for title, _ in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for method in every:
        star = " *" if method.title == chosen else ""
        cells = [_cell(*found[method.title]) if method.title in found else "too few items" for _, found in columns]
        table.add_row(f"{method.title}{star}", *cells)
    results().print(table)


def _say_choice(right: "Right", items: "FrozenItems", folds: "methods.Folds", first: str, chosen: str) -> None:
    """Print how the choice was made."""
    from texthead.commands.console import results
    from texthead.transfer import methods

    if not right:
        weight = ", with the weight that was set on drawn videos" if chosen == methods.TEXT_AND_MEANS else ""
        results().print(
            f"* {chosen}{weight}: nothing is cross-validated where a class has fewer than {methods.FEWEST} items"
        )
        return
    kept = "groups whole" if folds.whole else "groups divided, since they are too few to keep each whole"
    how = f"{len(folds.pairs)} folds{f', {kept}' if _grouped(items) else ''}"
    if chosen == first:
        why = f"is taken unless another leads it by {methods.ERRORS:g} standard errors, and none does"
    else:
        why = f"leads {first!r}, which is taken otherwise, by {methods.ERRORS:g} standard errors"
    results().print(f"* {chosen} {why} (cross-validated, {how})")


def _grouped(items: "FrozenItems") -> bool:
    return len(set(items.groups)) < len(items.groups)


def _cell(top1: float, low: float, high: float) -> str:
    """As in `66.7 (41.7-84.8)`; 100 without its zero, so that the table fits into 80 columns."""
    own, least, most = (f"{value:.1f}".replace("100.0", "100") for value in (top1, low, high))
    return f"{own} ({least}-{most})"


def _write(
    out: Path,
    ground: "Ground",
    method: "Method",
    items: "FrozenItems",
    scored: "Dataset",
    pixels: "Pixels",
    scores: "RunScores | None",
) -> None:
    """The method fitted to all training items, as a run, with its scores where items were held out."""
    from texthead.models.recognizer import Recognizer
    from texthead.runs.folder import write_run
    from texthead.runs.scores import write_scores
    from texthead.training.start import split_json

    fitted = method.fit(items)
    model = Recognizer(ground.encoder.visual, fitted.model.temporal, fitted.model.head)
    split = split_json(items.data, scored)
    with locked(out):
        if scores:
            write_scores(out, scores)
        write_run(out, model, fitted.recipe, pixels, ground.names, split, chosen=method.title)
