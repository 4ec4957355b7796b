"""The command line: parses, calls, prints. Torch is imported by the commands, not by the parser."""

import os
import sys
from argparse import ArgumentError
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from texthead.commands.options import command_line, train_parser
from texthead.errors import RunError, TextheadError
from texthead.parallel.startup import begin_server, keep_freed_memory
from texthead.recipes import RECIPES, Recipe
from texthead.text.prompts import read_template


def recipe_from(options: Namespace, given: Namespace) -> Recipe:
    """The recipe that the options name, changed by those that were given and by nothing else."""
    return RECIPES[options.recipe](**_given_recipe_values(given))


def _given_recipe_values(given: Namespace) -> dict[str, Any]:
    values = {f.name: given[f.name] for f in fields(Recipe) if f.name != "name" and f.name in given}
    if isinstance(values.get("template"), str):
        values["template"] = read_template(values["template"])
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


# What a run is begun with and has to be resumed with, beside the recipe's values.
_KEPT = ("baselines", "skip_unreadable", "checkpoint_every")  # these may also be given anew

_TEXTS = ("encoder", "text", "classes", "val", "labels", "root", "frame_template", "suffix")

_FIXED = (*_KEPT, *_TEXTS, "head", "train_head", "names", "k", "held_out", "recipe")


def _check_begun(begun: dict[str, Any], folder: Path) -> None:
    """Nothing, if a run can have been begun with these options."""
    told = f"{folder / 'recipe.json'}: no run is begun with"
    for key in set(begun) - {*_FIXED, *(field.name for field in fields(Recipe))}:
        raise RunError(f"{told} {key!r}: restore it from a copy")
    # The parser takes anything for an option without a type.
    kinds = {**dict.fromkeys(_TEXTS, str | None), **dict.fromkeys(("train_head", "skip_unreadable"), bool)}
    for key in kinds.keys() & begun:
        if not isinstance(begun[key], kinds[key]):
            raise RunError(f"{told} {key!r} {begun[key]!r}: restore it from a copy")
    # The templates of a file are kept as they were read.
    values, templates = {**begun}, begun.get("template", "")
    if isinstance(templates, list) and all(isinstance(each, str) for each in templates):
        del values["template"]
    try:
        train_parser(exit_on_error=False).parse_object({**values, "data": "", "out": ""}, defaults=False)
    except (ArgumentError, KeyError) as error:
        raise RunError(f"{told} such options ({error}): restore it from a copy") from None


def resumed(options: Namespace, given: Namespace) -> None:
    """Nothing; options that are not given are put to what the run was begun with.

    Raises:
        RunError: no run to resume, one that no options began, or an option that is given differs from what the run was
            begun with.
    """
    from texthead.runs.run import begun_with

    begun = begun_with(Path(options.out))
    _check_begun(begun, Path(options.out))
    for key, value in begun.items():
        if key in _KEPT and key in given:
            continue
        typed = given.get(key, value)
        typed = read_template(typed) if key == "template" and isinstance(typed, str) else typed
        if (list(typed) if isinstance(typed, tuple) else typed) != value:
            option = f"--{key.replace('_', '-')}"
            raise RunError(f"{options.out}: was begun with {option} {value}, not {typed}: leave {option} out to resume")
        options[key] = given[key] = typed


# Commands that several processes do together.
_SHARED = ("train", "eval")

# Those whose files are decoded by processes of a loader.
_DECODING = ("train", "eval", "calibrate", "report", "predict", "compare", "demo")


def _group(command: str, *, apart: bool) -> AbstractContextManager[None]:
    """The group of the processes that torchrun has started, if it has; none where each works `apart`.

    Raises:
        RunError: the command is for one process, or the processes were started by something else.
    """
    if apart or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return nullcontext()
    if "LOCAL_RANK" not in os.environ:
        size = os.environ["WORLD_SIZE"]
        raise RunError(
            f"WORLD_SIZE is {size} and LOCAL_RANK is not set, so each process would do all the work alone: start it "
            "with torchrun, or unset WORLD_SIZE"
        )
    if command not in _SHARED:
        raise RunError(f"{command} runs in one process: start it without torchrun")
    from texthead.parallel.distributed import launched

    return launched()


def _run(parser: ArgumentParser, command: str, options: Namespace, arguments: list[str]) -> None:
    """Do a command."""
    keep_freed_memory()
    if command in _DECODING and options.workers:
        begin_server()  # It imports what this process does in the meantime.
    if command == "train":
        # Recipe flags have no defaults: what was typed or configured counts, and nothing else.
        given = parser.parse_args(arguments, defaults=False)["train"]
        if options.resume:
            resumed(options, given)
        values = _given_recipe_values(given)
        kept = {**{key: options[key] for key in _FIXED}, **values}
        from texthead.commands.train import train

        train(options, recipe_from(options, given), given=frozenset(values), command=kept)
        return
    if command == "demo":
        from texthead.commands.demo import run_demo

        run_demo(Path(options.out), seed=options.seed, workers=options.workers, device=options.device)
        return
    if command == "eval":
        from texthead.commands.eval import evaluate as do
    elif command == "calibrate":
        from texthead.commands.calibrate import calibrate as do
    elif command == "compare":
        from texthead.commands.compare import compare as do
    elif command == "doctor":
        from texthead.commands.doctor import examine as do
    elif command == "prepare":
        from texthead.commands.prepare import prepare as do
    elif command == "import":
        from texthead.commands.import_run import import_file as do
    elif command == "classes":
        from texthead.commands.classes import classes as do
    elif command == "export":
        from texthead.commands.export import export as do
    elif command == "encoders":
        from texthead.commands.encoders import encoders as do
    elif command == "profile":
        from texthead.commands.profile import profile as do
    elif command == "report":
        from texthead.commands.report import report as do
    elif command == "predict":
        from texthead.commands.predict import predict as do
    elif command == "ui":
        from texthead.commands.ui import ui as do
    elif command == "timeline":
        from texthead.commands.timeline import timeline as do
    else:
        from texthead.commands.head import head as do
    do(options)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 2 for a mistake of the user's, 130 for an interrupt, 141 where the output's reader has gone."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")  # Names of files can hold what no terminal can show.
    parser = command_line()
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(arguments)
    if options.version:
        from texthead import __version__

        print(f"texthead {__version__}")
        return 0
    if options.command is None:
        parser.print_help()
        return 0
    chosen = options[options.command]
    try:
        with _group(options.command, apart=chosen.get("manifest") is not None):
            _run(parser, options.command, chosen, arguments)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        from texthead.commands.console import reader_gone

        return reader_gone()
    except TextheadError as error:
        print(f"texthead: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        begun = options.command == "train" and (Path(chosen.out) / "recipe.json").is_file()
        remedy = f"; `texthead train {chosen.data} --out {chosen.out} --resume` goes on" if begun else ""
        print(f"texthead: interrupted{remedy}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
