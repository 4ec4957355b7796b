"""`texthead train`: divides the data, fits the recipe to it, trains, and shows the result beside the simple things."""

from argparse import SUPPRESS, ArgumentError
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from jsonargparse import ActionYesNo, ArgumentParser

from texthead.commands.options import BaselineOptions, DataOptions, NameOptions, ReadingOptions
from texthead.commands.parser import (
    PositiveInt,
    argument,
    build,
    extra,
    groups_of,
    option,
    parser_of,
    texts_of,
    values_of,
)
from texthead.data.sources import check_source
from texthead.errors import DataError, RunError
from texthead.recipes import RECIPES, WITHOUT_TEXT, HeadKind, Recipe, small
from texthead.text import prompts

if TYPE_CHECKING:
    from texthead.data.dataset import Dataset
    from texthead.data.division import Division
    from texthead.data.protocol import Protocol
    from texthead.features.reading import Reading
    from texthead.models.recognizer import Recognizer
    from texthead.transfer.baselines import Comparison


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a run on labelled videos or images.

    DATA is class folders, a CSV (path,label[,split][,group]), a list, prepared shards or a datasets folder.

    Args:
        data: class folders, CSV or TSV, list .txt, prepared SHARDS, or datasets:FOLDER_OR_ID
        val: score these items, train on all of DATA
        out: the run folder to make
        encoder: mini, openclip:..., hf:..., timm:...; see texthead encoders
        text: text:FOLDER_OR_ID: a text-only encoder of transformers for the rows
        head: rows of the head; all but prompt (a learned template), linear and cosine are frozen
        train_head: train the rows from where they start
        classes: names.txt, classes.json of name: sentence, [sentences] or null: what the text encoder reads for the
            data's labels (sentences are averaged)
        k: train on K items a class
        held_out: part to hold out where the data has no splits (0.2)
        resume: continue a run that was stopped
        checkpoint_every: steps between checkpoints, if not an epoch's; --resume goes on with the very next clip
        shard: under torchrun: each process has the whole model, or a part of every weight
        compile: the encoder through torch.compile: faster on a GPU after a while, with other last bits
        tensorboard: write the metrics into RUN/tensorboard too, as they come (pip install texthead[tensorboard])
        recipe: source of the recipe values that are not given
    """

    data: str = argument("DATA")
    val: str | None = option(None, "DATA")
    labelled: DataOptions = DataOptions()
    out: str = option(metavar="RUN")
    encoder: str = "mini"
    text: str | None = option(None, "SOURCE")
    head: HeadKind = "text"
    train_head: bool = False
    classes: str | None = option(None, "FILE")
    naming: NameOptions = NameOptions()
    k: int | None = None
    held_out: float | None = None
    resume: bool = False
    checkpoint_every: PositiveInt | None = option(None, "STEPS")
    shard: Literal["ddp", "fsdp"] = "ddp"
    compile: bool = False
    tensorboard: bool = False
    beside: BaselineOptions = BaselineOptions()
    files: ReadingOptions = ReadingOptions()
    recipe: Literal["small", "paper", "text4vis"] = "small"
    overrides: Mapping[str, Any] = extra(dict)

    @classmethod
    def extend(cls, parser: ArgumentParser) -> None:
        """Add the recipe's values, which have no defaults of their own, and --config."""
        parser.add_argument("--config", action="config", help="YAML with any of these options")
        group = parser.add_argument_group("recipe", "what is not given here comes from the recipe")
        texts = texts_of(Recipe)
        for field in fields(Recipe):
            if field.name == "name":
                continue
            flag, value = f"--{field.name.replace('_', '-')}", getattr(small(), field.name)
            text = f"{texts[field.name].rstrip('.').partition(';')[0]}; small: {_spoken(value)}"
            if field.type is bool:
                yes_no = ActionYesNo(no_prefix="no-")
                group.add_argument(flag, action=yes_no, default=SUPPRESS, help=f"{text} (or --no-...)")
            else:
                kind = str if field.name == "template" else field.type
                group.add_argument(flag, type=kind, default=SUPPRESS, help=text)  # pyright: ignore[reportArgumentType]

    @property
    def begun(self) -> dict[str, Any]:
        """What --resume takes from the run folder: these options, and the recipe values that were given."""
        elsewhere = ("data", "out", "resume", "shard", "compile", "tensorboard", "cache", "workers", "device")
        return {key: value for key, value in values_of(self).items() if key not in elsewhere} | dict(self.overrides)

    def check(self) -> None:
        """Raise DataError if DATA does not exist."""
        check_source(self.data)

    def __call__(self) -> None:
        import torch

        from texthead.commands.console import bar, say_names, say_prompts, say_skipped
        from texthead.data import dataset as datasets
        from texthead.data.division import divide
        from texthead.data.protocol import Protocol, Views
        from texthead.encoders.load import load_encoder
        from texthead.features.views import Pretrained
        from texthead.models.build import make_head, make_temporal_for, needs_features, pixels_for
        from texthead.models.head_rows import RowInputs
        from texthead.models.recognizer import Recognizer
        from texthead.parallel.distributed import rank
        from texthead.runs.run import check_out
        from texthead.training import train as training
        from texthead.training.execution import Callbacks, Execution, RunInfo
        from texthead.training.fit_recipe import check_overrides_are_used, suit
        from texthead.training.inputs import readable_parts
        from texthead.training.tensorboard import TensorBoardLog
        from texthead.transfer.baselines import Comparison, are_few, baselines

        make, out = RECIPES[self.recipe], Path(self.out)
        recipe = make(**self.overrides)
        check_out(out, resume=self.resume)
        check_overrides_are_used(make, self.overrides, self.head)
        device = self.files.pick_device()
        board = TensorBoardLog(out / "tensorboard") if self.tensorboard and rank() == 0 else None
        dataset = self._read()
        parts = divide(dataset, seed=recipe.seed, part=self.held_out, k=self.k)
        labels = parts.train.classes
        names, sentences, lines = prompts.classes_to_train(
            labels,
            parts.train.source,
            self.classes,
            head=self.head,
            template=self.overrides.get("template"),
            clean=self.naming.clean,
        )
        shown = prompts.class_prompts(recipe.template, names, sentences)
        encoder = load_encoder(self.encoder, text=self.text, prompts=prompts.flat(shown))
        if self.head in ("text", "prompt") and not encoder.has_text:
            raise DataError(f"--head {self.head}: {self.encoder} has no text encoder; take another: {WITHOUT_TEXT}")
        recipe, changed = suit(make, self.overrides, parts.train, encoder)
        self._announce(dataset, parts, recipe.seed, (*lines, *changed))
        say_names(labels, names, recipe.template if self.head == "text" and not any(sentences) else None)
        if any(sentences):
            say_prompts(labels, shown)

        encoder.visual.to(device)
        pixels = pixels_for(recipe, encoder.visual.spec)
        temporal = make_temporal_for(recipe, encoder.visual)
        cache = self.beside.features_of(encoder.visual, pixels)
        protocol = Protocol(recipe.frames, pixels, Views(origin=recipe.origin))
        # Trained weights depend on last bits: only features that stay as they are may come from another engine.
        exact = "eager" if self.files.engine == "auto" and not recipe.freeze_encoder else self.files.engine
        reading = replace(self.files.reading(cache), engine=exact)
        ground = Pretrained(encoder, protocol, reading, bar)
        compare = are_few(self.beside.baselines, len(parts.train))
        features = None
        if compare or needs_features(self.head, recipe) or self.files.skip_unreadable:
            features, parts, errors = readable_parts(ground, parts)
            say_skipped(errors)
        targets = torch.tensor(datasets.label_indices(parts.train, labels))
        inputs = RowInputs(
            encoder, labels, recipe, names=names, sentences=sentences, features=features, targets=targets
        )
        head = make_head(self.head, inputs, trainable=self.train_head)
        if head.learned_template:
            say_prompts(labels, head.prompts or ())
        table = Comparison(parts, labels)
        if compare and features is not None and len(parts.scored):
            baselines(ground, table, names, recipe, features, targets, prompts=shown)
        model = Recognizer(encoder.visual, temporal, head).to(device)
        with bar("train", "clips") as progress, board or nullcontext():
            records = training.train(
                model,
                parts.train,
                parts.val,
                recipe,
                out=out,
                resume=self.resume,
                execution=Execution(self.files.workers, cache, self.shard, self.compile, self.checkpoint_every, exact),
                info=RunInfo(names, parts.scored, self.begun),
                callbacks=Callbacks(progress, progress.say, record=board.add if board else Callbacks().record),
            )
        # An encoder that was trained has other features than the cache.
        reading = reading if recipe.freeze_encoder else replace(reading, cache=None)
        _score(out, model, table, protocol, reading, self.head)
        _report(out, model, records, table, protocol, reading)

    def _read(self) -> "Dataset":
        """Return the labelled files of DATA, and those of --val as what is held out."""
        from texthead.data.division import with_validation

        dataset = self.labelled.read(self.data)
        if self.val is None:
            return dataset
        if self.held_out is not None:
            raise DataError(f"--held-out {self.held_out}: --val {self.val} is what is held out; give one of them")
        return with_validation(dataset, self.labelled.read(self.val))

    def _announce(self, dataset: "Dataset", parts: "Division", seed: int, lines: Sequence[str]) -> None:
        """Print what was changed, and who trains and who is scored."""
        from texthead.commands.console import notes, say_notes
        from texthead.data.dataset import splits_of
        from texthead.data.division import HELD_OUT

        say_notes((*dataset.notes, *lines))
        drawn = "" if splits_of(dataset) else f" (drawn with seed {seed}, {self.held_out or HELD_OUT:.0%} a class)"
        notes().print(
            f"{len(parts.train)} training items of {len(parts.train.classes)} classes, "
            f"{len(parts.scored)} {parts.scored_name} items to score{drawn}"
        )


FEW_TO_REORDER = 500  # items; each takes some 15 ms of a core


def _score(
    out: Path, model: "Recognizer", table: "Comparison", protocol: "Protocol", reading: "Reading", head: str
) -> None:
    """Print the run's own score beside the baselines, and write it into the run folder."""
    from texthead.commands.console import bar, notes
    from texthead.commands.score_table import show_table
    from texthead.evaluation import evaluate
    from texthead.parallel.distributed import rank
    from texthead.runs.scores import RunScores, Score, write_scores

    if not len(table.division.scored):
        notes().print("note: no held-out item, so nothing was scored")
        return
    with bar("score", "files") as progress:
        result = evaluate.evaluate(model, table.division.scored, protocol, reading, progress=progress)
    table.add(f"this run ({head} head)", result)
    show_table(table)
    if rank() == 0:
        write_scores(out, RunScores(table.division.scored_name, tuple(Score.of(*row) for row in table.rows)))


def _report(
    out: Path,
    model: "Recognizer",
    records: Sequence[dict],
    table: "Comparison",
    protocol: "Protocol",
    reading: "Reading",
) -> None:
    """`report.html` in the run folder, with what takes no more than seconds: no frame is encoded for it again."""
    from texthead.commands.console import results
    from texthead.evaluation.frame_order import blind_to_order, order_test
    from texthead.parallel.distributed import rank
    from texthead.report.mistakes import strips
    from texthead.report.probabilities import how_sure
    from texthead.report.run_page import Looks, write_report

    shown, order, sure = [], "", None
    if table.rows:
        blind = blind_to_order(model, protocol.frames)
        order = blind or f"Not tested here; `texthead report {out}` does."
        if not blind and reading.cache is not None and len(table.division.scored) <= FEW_TO_REORDER:
            order = order_test(model, table.division.scored, protocol, reading)
    if rank() == 0:
        if table.rows:
            _, own = table.rows[-1]
            shown, sure = strips(own, protocol), how_sure(own)
        looks = Looks(strips=shown, order=order, sure=sure)
        write_report(out / "report.html", out, model, records, table, looks)
    results().print(f"run: {out}   report: {out / 'report.html'}")


# Options of the begun run that a resumed one may change.
MAY_CHANGE = ("baselines", "skip_unreadable", "checkpoint_every")


def from_options(options: Mapping[str, Any], given: Mapping[str, Any]) -> Train:
    """Return the command; with --resume, options that are not `given` are those that the run was begun with."""
    values = dict(options)
    if isinstance(values.get("template"), str):
        values["template"] = prompts.read_template(values["template"])
    if values["resume"]:
        values |= _resumed(Path(values["out"]), {key: values[key] for key in given})
    recipe = {field.name: values[field.name] for field in fields(Recipe) if field.name in values}
    overrides = {key: tuple(value) if isinstance(value, list) else value for key, value in recipe.items()}
    return build(Train, values, overrides=overrides)


def _resumed(out: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the run was begun with, after a check that the given ones agree with them.

    Raises:
        RunError: no run to resume, one that no options began, or a given option that differs.
    """
    from texthead.runs.run import begun_with

    begun = begun_with(out, given, may_change=MAY_CHANGE)
    wrong = f"{out / 'recipe.json'}: no run is begun with"
    known = {*Train(data="", out="").begun, *(field.name for field in fields(Recipe) if field.name != "name")}
    for key in set(begun) - known:
        raise RunError(f"{wrong} {key!r}: restore it from a copy")
    # The parser takes anything for an option without a type.
    hints = {key: hint for kind in (Train, *groups_of(Train).values()) for key, hint in get_type_hints(kind).items()}
    for key, value in begun.items():
        if hints.get(key) in (bool, str, str | None) and not isinstance(value, hints[key]):
            raise RunError(f"{wrong} {key!r} {value!r}: restore it from a copy")
    values, templates = dict(begun), begun.get("template")
    if isinstance(templates, list | tuple) and all(isinstance(each, str) for each in templates):
        del values["template"]  # As read from a file, which the parser would want named.
    try:
        parser_of(Train, exit_on_error=False).parse_object({**values, "data": "", "out": ""}, defaults=False)
    except (ArgumentError, KeyError) as error:
        raise RunError(f"{wrong} such options ({error}): restore it from a copy") from None
    return begun


def _spoken(value: object) -> str:
    """A recipe's value as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return f"[{', '.join(f'{part:.3g}' for part in value)}]"
    return "the encoder's" if value is None else str(value)
