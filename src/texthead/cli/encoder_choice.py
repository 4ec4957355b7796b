"""The encoder of a command: `here` is the best on this machine, and a line says if one there looks better."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from texthead.cli.console import console
from texthead.files import cache_dir

if TYPE_CHECKING:
    from texthead.data.dataset import Dataset
    from texthead.encoders.load import EncoderOptions
    from texthead.features.reading import ReadOptions

# The name of the encoder that is to be chosen.
HERE = "here"


def chosen_encoder(
    command: Any, data: "Dataset", source: str, held_out: float | None, reading: "ReadOptions"
) -> "EncoderOptions":
    """Return the encoder of a command; if it is `here`, the one that a comparison on the training items chooses.

    Args:
        command: `train` or `compare`, with its options.
    """
    from texthead.encoders.here import encoders_here
    from texthead.encoders.load import EncoderOptions
    from texthead.transfer.choice import BUDGET, choose_encoder

    options = EncoderOptions(source, text=command.text, device=command.pick_device())
    minutes = f"at most {BUDGET / 60:.0f} minutes"
    if source != HERE:
        say_better(data.source, source, f"`--encoder {HERE}` compares it, {minutes}")
        return options
    candidates = [replace(options, source=row.source) for row in encoders_here() if not row.problem]
    console.notes().print(f"comparing {len(candidates)} encoders that are on this machine, {minutes}")
    division = {"classes": command.classes, "k": command.k, "held_out": held_out, "seed": command.seed or 0}
    choice = choose_encoder(data, candidates, BUDGET, **division, reading=reading, reporter=console.reporter)
    table = Table("encoder", box=None, pad_edge=False)
    for title in ("cross-validated, % (95 % CI)", "files", "s per 100 files", "MB"):
        table.add_column(title, justify="right")
    for each in choice.scores:
        result, size = each.evaluation, f"{each.size / 1e6:,.0f}" if each.size else ""
        score = "{:.1f} ({:.1f}-{:.1f})".format(*result.rate) if result else each.problem
        table.add_row(each.source, score, *((str(result.count), f"{each.seconds:.3g}") if result else ("", "")), size)
    console.results().print(table)
    console.results().print(f"chosen in {choice.seconds:.0f} s: {choice.encoder}")
    return replace(options, source=choice.encoder)


def say_better(data: str, encoder: str, then: str) -> None:
    """Say once per data set if an encoder on this machine is probably better than `mini`.

    Args:
        data: the source of the data.
        then: what to do about it, the end of the line; the encoder's name stands for {}.
    """
    from texthead.encoders.here import encoders_here

    said = cache_dir() / "hints" / hashlib.sha256(str(Path(data).absolute()).encode()).hexdigest()[:32]
    if encoder != "mini" or said.exists():
        return
    for row in [row for row in encoders_here() if not row.problem and row.imagenet][:1]:
        said.parent.mkdir(parents=True, exist_ok=True)
        said.touch()
        console.say_notes(f"{row.source} is on this machine and reads class names: {then.format(row.source)}")
