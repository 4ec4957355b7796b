"""A command is a frozen dataclass: its fields are options, their docs the help, and `__call__` does it.

    @dataclass(frozen=True, kw_only=True)
    class Evaluate(ReadingOptions):
        '''Score a run on labelled data.

        Args:
            run: a run folder
        '''

        run: str = argument("RUN")

Options that commands share are `common("device")`, or stand in base classes, such as `ReadingOptions`, whose methods
act on them. Commands import torch inside their functions, so that help is fast. Every command has --quiet and
--verbose. Class attributes say more:

JSON       the keys of the result: adds --json
SECTIONS   titles in the help, and the options under each
PROCESSES  "shared": the processes of torchrun do the work together; else there is one

`options_of` describes the options of a command; argparse only splits the words.
"""

import argparse
import dataclasses
import inspect
import shutil
import sys
from argparse import SUPPRESS, ArgumentTypeError
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from textwrap import fill, wrap
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from docstring_parser.google import parse

from texthead.errors import DataError, RunError, converted, did_you_mean, in_words
from texthead.recipes import Recipe


def argument(
    metavar: str, *, nargs: str | None = None, read: Callable[[str], Any] | None = None, text: str = ""
) -> Any:
    """Return a field for a positional argument.

    Args:
        metavar: name in the help and in messages.
        nargs: "?" if it may be left out (None), "*" for any number (a list), "+" for at least one.
        read: converts the typed text when the command is built.
        text: its help, unless the command's docs have one.
    """
    defaults: dict[str | None, Any] = {"?": None, "*": ()}
    default = defaults.get(nargs, dataclasses.MISSING)
    metadata = {"positional": True, "metavar": metavar, "nargs": nargs, "read": read, "text": text}
    return dataclasses.field(default=default, metadata=metadata)


def option(
    default: Any = dataclasses.MISSING,
    metavar: str | None = None,
    *,
    repeated: bool = False,
    writes: str = "",
    text: str = "",
) -> Any:
    """Return a field for an option.

    Args:
        default: default value, or a function that returns it; without one the option is required.
        metavar: name of the value in the help.
        repeated: whether the option may be given several times; the field is then a list.
        writes: endings of the file that it names for output, as ".png .svg .pdf", or "/" for a folder; see
            `check_outputs`.
        text: its help, unless the command's docs have one.
    """
    metadata = {"metavar": metavar, "repeated": repeated, "writes": writes, "text": text}
    if isinstance(default, Callable):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


# ---- one option


_READ: dict[Any, Callable[[str], Any]] = {float: float, int: int, str: str}
_READ[bool] = {"true": True, "false": False}.__getitem__


def _read(text: str, hint: Any) -> Any:
    """Return the value that a text stands for; raise KeyError or ValueError if it has another type."""
    kind, args = get_origin(hint), get_args(hint)
    if kind is tuple:
        words = zip(text.strip("[]").split(","), args, strict=True)
        return tuple(_read(word, each) for word, each in words)
    return converted("option", _READ[str if kind is Literal else args[0] if kind is Annotated else hint](text), hint)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Option:
    """An option or an argument of a command.

    Attributes:
        name: key of its value; the flag has dashes instead of underscores.
        text: its help.
        hint: type of a value, without None.
        optional: whether the value may be None: `null`.
        default: MISSING if the option is required, SUPPRESS if it is not and has no default of its own.
        metavar: name of the value in the help, or of the argument.
        positional: whether it is a positional argument.
        nargs: "?", "*" or "+" of an argument.
        repeated: whether it may be given several times.
    """

    name: str
    text: str
    hint: Any = str
    optional: bool = False
    default: Any = dataclasses.MISSING
    metavar: str | None = None
    positional: bool = False
    nargs: str | None = None
    repeated: bool = False

    @classmethod
    def from_hint(cls, name: str, hint: Any, **more: Any) -> "Option":
        """Return the option of a field from its type: `int | None` may be None, `list[str]` has several values."""
        kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        first = next(kind for kind in kinds if kind is not NoneType)
        one = get_args(first)[0] if get_origin(first) is list else first
        return cls(name=name.removesuffix("_"), hint=one, optional=NoneType in kinds, **more)

    @property
    def label(self) -> str:
        """The option as typed, or the name of the argument."""
        return str(self.metavar) if self.positional else f"--{self.name.replace('_', '-')}"

    @property
    def is_switch(self) -> bool:
        """Whether the option takes no value; it is off by default."""
        return self.hint is bool and not self.positional

    @property
    def many(self) -> bool:
        """Whether the value is a list."""
        return self.repeated or self.nargs in ("*", "+")

    @property
    def shown_default(self) -> str:
        """The default as text; empty if it says nothing."""
        silent = (None, False, (), SUPPRESS, dataclasses.MISSING)
        return "" if self.default == [] or any(self.default is each for each in silent) else str(self.default)

    def read(self, text: str) -> Any:
        """Return the value that a text stands for.

        Raises:
            ArgumentTypeError: it has another type. The message lacks the option, which argparse puts before it.
        """
        if text is SUPPRESS:  # Python 3.11 reads the default of an argument that is left out.
            return text
        if self.hint is str and not text:
            raise ArgumentTypeError("is empty: add a value, or remove the option")
        if text == "null" and self.optional and self.hint is not str:
            return None
        try:
            return _read(text, self.hint)
        except (KeyError, ValueError):
            several = get_origin(self.hint) is tuple
            rule = f"{len(get_args(self.hint))} numbers, such as 0.35,1.0" if several else in_words(self.hint)
            raise ArgumentTypeError(f"must be {rule}, got {text or 'nothing'}") from None


_INDENT = 23  # characters before the help of an option


def _width() -> int:
    return min(100, shutil.get_terminal_size().columns - 2)


def _wrapped(text: str, indent: int = 0) -> str:
    """Return a text in lines that fit the help; options such as --freeze-encoder stay whole."""
    return fill(text, max(20, _width() - indent), break_on_hyphens=False)


# ---- the options of a command

# The last options in the help of a command.
_LAST = ("device", "workers", "skip_unreadable")


@cache
def options_of(command: type) -> list[Option]:
    """Return the options of a command in the order of its help: arguments, its own, then those of its base classes."""
    hints, texts = get_type_hints(command, include_extras=True), texts_of(command)
    fields = dataclasses.fields(command)
    arguments = [field.name for field in fields if field.metadata.get("positional")]
    own_first = [name for kind in command.__mro__ for name in inspect.get_annotations(kind)]
    order = [*arguments, *(name for name in own_first if name not in _LAST), *_LAST]
    options = []
    for field in sorted(fields, key=lambda field: order.index(field.name)):
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        metadata = {key: value for key, value in field.metadata.items() if key not in ("read", "writes")}
        more = {**metadata, "text": texts.get(field.name, metadata.get("text", ""))}
        options.append(Option.from_hint(field.name, hints[field.name], default=default, **more))
    switch = partial(Option, hint=bool, default=False)
    options.append(switch(name="quiet", text="print only results and errors"))
    options.append(switch(name="verbose", text="also print settings, prompts and tables"))
    if hasattr(command, "JSON"):
        options.append(switch(name="json", text="print the result as one JSON document"))
    return options


def texts_of(holder: type) -> dict[str, str]:
    """Return the documentation of each field of a dataclass, including those of its base classes."""
    params = [each for kind in reversed(holder.__mro__) for each in parse(kind.__doc__ or "").params]
    return {each.arg_name: " ".join((each.description or "").split()) for each in params}


def summary_of(command: type) -> str:
    """Return the first sentence of a command's docs, as a phrase."""
    summary = " ".join((parse(command.__doc__ or "").short_description or "").rstrip(".").split())
    return summary[:1].lower() + summary[1:]


def description_of(command: type) -> str:
    """Return the docs of a command without its options."""
    about = parse(command.__doc__ or "")
    return " ".join(" ".join(filter(None, (about.short_description, about.long_description))).split())


def name_of(command: type) -> str:
    """Return the name of a command: NAME, which a package's has, else the class name without "Command"."""
    return getattr(command, "NAME", command.__name__.removesuffix("Command").lower())


def usage_of(command: type) -> str:
    """Return the arguments and required options of a command in one line."""
    if hasattr(command, "USAGE"):
        return command.USAGE
    words, styles = [f"texthead {name_of(command)}"], {"?": "[{}]", "*": "[{}...]", "+": "{}..."}
    options = options_of(command)
    for each in options:
        if each.positional:
            words.append(styles.get(str(each.nargs), "{}").format(each.metavar))
        elif each.default is dataclasses.MISSING:
            words.append(f"{each.label} {each.metavar}")
    others = any(not each.positional and each.default is not dataclasses.MISSING for each in options)
    return " ".join([*words, *["[options]"] * others])


# ---- parsing


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are DataErrors, and that does not accept abbreviated options."""

    def __init__(self, **options: Any):
        form = partial(argparse.RawTextHelpFormatter, max_help_position=_INDENT, width=_width())
        super().__init__(allow_abbrev=False, exit_on_error=False, formatter_class=form, **options)

    def parse_known_args(self, *args: Any, **options: Any) -> tuple[argparse.Namespace, list[str]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the options and the words that are none.

        Raises:
            DataError: an option without its value, or a value of another type.
        """
        try:
            return super().parse_known_args(*args, **options)
        except argparse.ArgumentError as error:
            ours = isinstance(error.__context__, ArgumentTypeError)  # a sentence that lacks its first word
            self.error(f"{error.argument_name}{'' if ours else ':'} {error.message}")

    def error(self, message: str) -> NoReturn:
        """Raise the message as DataError."""
        raise DataError(f"{message} (see {self.prog} --help)")


def parser_of(command: type) -> Parser:
    """Return the argparse parser of a command; options that are not typed are not in its result."""
    parser = Parser(
        prog=f"texthead {name_of(command)}",
        usage=usage_of(command).replace("%", "%%"),
        description=_wrapped(description_of(command)),
    )
    sections = getattr(command, "SECTIONS", {})
    groups = {
        name: group for title in sections for group in [parser.add_argument_group(title)] for name in sections[title]
    }
    for each in options_of(command):
        text = each.text + (f" (default: {each.shown_default})" if each.shown_default else "")
        form: dict[str, Any] = {"default": SUPPRESS, "help": _wrapped(text, _INDENT).replace("%", "%%")}
        form |= {} if each.is_switch else {"metavar": each.metavar, "type": each.read}
        if each.positional:
            form |= {"nargs": each.nargs}
        else:
            form |= {
                "dest": each.name,
                "action": "store_true" if each.is_switch else "append" if each.repeated else "store",
            }
        try:
            add = groups.get(each.name, parser).add_argument
            action = add(each.name if each.positional else each.label, **form)
        except argparse.ArgumentError as error:
            raise RunError(f"{command.__module__}.{command.__qualname__}: {error}; rename the field") from None
        if each.positional:
            action.required = False  # `check_required` looks.
    return parser


def read_words(command: type, words: Sequence[str]) -> dict[str, Any]:
    """Return the values of the options that are typed after a command.

    Raises:
        DataError: unknown options, or values of another type.
    """
    parsed, unknown = parser_of(command).parse_known_args(words)
    if (
        unknown
        and not unknown[0].startswith("-")
        and any(each.positional and each.many for each in options_of(command))
    ):
        parsed, unknown = parser_of(command).parse_known_intermixed_args(words)  # Files on both sides of an option.
    values = vars(parsed)
    if unknown:
        line = f"unrecognized arguments: {' '.join(filter(None, unknown))}"
        if unknown[0].startswith("-"):
            flags = [each.label for each in options_of(command) if not each.positional]
            flag, _, value = unknown[0].partition("=")
            name, key = flag.lstrip("-"), flag.lstrip("-").replace("-", "_")
            after = words[words.index(unknown[0]) + 1 :][:1]
            value = value or next((word for word in after if not word.startswith("--")), "VALUE")
            if "--set" in flags and key in {field.name for field in dataclasses.fields(Recipe)} - {"name"}:
                line += f": did you mean --set {key}={value}?"
            else:
                near = did_you_mean(name, [each.lstrip("-") for each in flags if each.startswith("--")])
                line += near.replace("mean ", "mean --")
        raise DataError(f"{line} (see texthead {name_of(command)} --help)")
    return values


# ---- values -> command


def values_of(command: Any) -> dict[str, Any]:
    """Return the options of a command with their values."""
    return {field.name.removesuffix("_"): getattr(command, field.name) for field in dataclasses.fields(command)}


def check_required(command: type, values: Mapping[str, Any]) -> None:
    """Raise DataError if a required option is not given."""
    name = name_of(command)
    for each in options_of(command):
        if each.default is dataclasses.MISSING and each.name not in values:
            raise DataError(f"{name} needs {each.label} (see texthead {name} --help)")


def build(command: type, values: Mapping[str, Any]) -> Any:
    """Return the command with its options; those without a value have their defaults."""
    fields = {}
    for field in dataclasses.fields(command):
        name = field.name.removesuffix("_")
        if name in values:
            read, value = field.metadata.get("read"), values[name]
            if read and value is not None:
                value = [read(each) for each in value] if isinstance(value, list) else read(value)
            fields[field.name] = value
    return command(**fields)


def print_error(line: str) -> None:
    """Print an error as one line; on a terminal, lines end between words."""
    text = f"texthead: {line}"
    if sys.stderr.isatty():
        lines = wrap(text, shutil.get_terminal_size().columns, break_long_words=False, break_on_hyphens=False)
        text = "\n".join(lines)
    sys.stderr.write(f"{text}\n")  # One write, unlike `print`: ranks share the terminal.
