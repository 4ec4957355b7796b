"""A command is a frozen dataclass: its fields are options, their docs the help, and `__call__` does it.

    @dataclass(frozen=True)
    class Evaluate:
        '''Score a run on labelled data.

        Args:
            run: a run folder
        '''

        run: str = argument("RUN")
        files: ReadingOptions = ReadingOptions()

Fields that are dataclasses are groups of options that commands share; their flags stay flat (`--workers`). Commands
import torch inside their functions, so that help is fast. Every command has --quiet, and --json if its attribute JSON
lists the keys of its result.
"""

import dataclasses
import difflib
import re
import shutil
import sys
import typing
from argparse import SUPPRESS, Action, ArgumentError, _SubParsersAction
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import fill, wrap
from typing import Any

from docstring_parser.google import parse
from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from texthead.errors import DataError, either
from texthead.files import check_options

# Numbers whose range the parser checks.
if typing.TYPE_CHECKING:
    NonNegativeInt = PositiveInt = UpTo12 = int
    PositiveFloat = float
else:
    from jsonargparse.typing import NonNegativeInt as NonNegativeInt
    from jsonargparse.typing import PositiveFloat as PositiveFloat
    from jsonargparse.typing import PositiveInt as PositiveInt
    from jsonargparse.typing import restricted_number_type

    # More examples would make the report too large to send.
    UpTo12 = restricted_number_type("UpTo12", int, [(">=", 0), ("<=", 12)])

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text (in quotes)",
    "tuple": "two numbers, such as [0.35, 1.0]",
    "NonNegativeInt": "a whole number, 0 or more",
    "PositiveFloat": "a number above 0",
    "PositiveInt": "a whole number, 1 or more",
}


def argument(metavar: str, *, nargs: str | None = None, read: Callable[[str], Any] | None = None) -> Any:
    """Return a field for a positional argument.

    Args:
        metavar: name in the help and in messages.
        nargs: "?" if it may be left out (None), "*" for any number (a list), "+" for at least one.
        read: converts the typed text when the command is built.
    """
    defaults: dict[str | None, Any] = {"?": None, "*": ()}
    default = defaults.get(nargs, dataclasses.MISSING)
    return dataclasses.field(
        default=default, metadata={"place": True, "metavar": metavar, "nargs": nargs, "read": read}
    )


def option(default: Any = dataclasses.MISSING, metavar: str | None = None, *, repeated: bool = False) -> Any:
    """Return a field for an option.

    Args:
        default: default value, or a function that returns it; without one the option is required.
        metavar: name of the value in the help.
        repeated: whether the option may be given several times; the field is then a list.
    """
    metadata = {"metavar": metavar, "repeated": repeated}
    if isinstance(default, Callable):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def extra(default: Any = dataclasses.MISSING) -> Any:
    """Return a field that is no option, with a function for its default; `build` takes it by name.

    In a command with ACTIONS, `build` sets the field `action` to the chosen action.
    """
    return dataclasses.field(default_factory=default, metadata={"extra": True})


def add_command(commands: Any, command: type) -> None:
    """Add a command and its actions to the subcommands of a parser."""
    parser = parser_of(command)
    commands.add_subcommand(_word(command), parser, help=summary_of(command))
    if actions := getattr(command, "ACTIONS", ()):
        # jsonargparse wants outer commands added before inner ones.
        inner = parser.add_subcommands(required=True, dest="action", metavar="ACTION")
        for action in actions:
            add_command(inner, action)


def summary_of(command: type) -> str:
    """Return the first sentence of a command's docs, as a phrase."""
    summary = " ".join((parse(command.__doc__ or "").short_description or "").rstrip(".").split())
    return summary[:1].lower() + summary[1:]


def _name(command: type) -> str:
    """Return the name of a command, as `train` or `classes RUN add`: NAME, else the class name without "Command"."""
    return getattr(command, "NAME", command.__name__.removesuffix("Command").lower())


def _word(command: type) -> str:
    """Return the last word of the name of a command or an action."""
    return _name(command).rpartition(" ")[2]


def parser_of(command: type, *, exit_on_error: bool = True) -> "Parser":
    """Return the parser of a command; a mistake ends the program, or is an `argparse.ArgumentError`."""
    about = parse(command.__doc__ or "")
    parser = Parser(
        prog=f"texthead {_name(command)}",
        description=" ".join(filter(None, (about.short_description, about.long_description))),
        exit_on_error=exit_on_error,
    )
    _add_options(parser, command, parser)
    _add_screen_options(parser, command)
    if hasattr(command, "extend"):
        command.extend(parser)
    for action in parser._actions:
        if "--print-config" in action.option_strings:
            action.help = "print the options as a YAML file for --config, and exit"
    parser.usage = getattr(command, "USAGE", None) or _usage(parser, command)
    return parser


def _add_screen_options(parser: ArgumentParser, command: type) -> None:
    """Add --quiet, and --json to a command whose JSON names the keys of its result; actions have their own."""
    if hasattr(command, "ACTIONS"):
        return
    parser.add_argument("--quiet", action="store_true", help="print no progress and no notes, only results and errors")
    if hasattr(command, "JSON"):
        text = f"print the result as one JSON document: {command.JSON}"
        parser.add_argument("--json", action="store_true", help=text)


def take_screen_options(options: Namespace) -> dict[str, bool]:
    """Remove --quiet and --json from the options of a command, or of its action, and return both."""
    while options.get("action"):
        options = options[options.action]
    return {name: bool(options.pop(name, False)) for name in ("quiet", "json")}


def _usage(parser: ArgumentParser, command: type) -> str:
    """Return the arguments and required options of a command in one line."""
    words, places = [f"texthead {_name(command)}"], {"?": "[{}]", "*": "[{}...]", "+": "{}..."}
    for action in parser._actions:
        if not action.option_strings:
            words.append(places.get(str(action.nargs), "{}").format(action.metavar))
        elif action.required:
            words.append(f"{action.option_strings[-1]} {action.metavar}")
    others = any(action.option_strings and not action.required for action in parser._actions if action.dest != "help")
    return " ".join([*words, *["[options]"] * others])


def groups_of(command: type) -> dict[str, type]:
    """Return the fields of a command that are groups of options."""
    hints = typing.get_type_hints(command)
    return {f.name: hints[f.name] for f in dataclasses.fields(command) if dataclasses.is_dataclass(hints[f.name])}


def texts_of(holder: type) -> dict[str, str]:
    """Return the documentation of each field of a dataclass, including those of its base classes."""
    params = [each for kind in reversed(holder.__mro__) for each in parse(kind.__doc__ or "").params]
    return {each.arg_name: " ".join((each.description or "").split()) for each in params}


def values_of(command: Any) -> dict[str, Any]:
    """Return the options of a command and of its groups, with their values."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(command):
        value = getattr(command, field.name)
        if dataclasses.is_dataclass(value):
            values |= values_of(value)
        elif not field.metadata.get("extra"):
            values[_key(field)] = value
    return values


def build(command: type, values: Mapping[str, Any], **more: Any) -> Any:
    """Return the command with its options and groups; `more` holds fields that are no options."""
    for action in getattr(command, "ACTIONS", ()):
        if _word(action) == values["action"]:
            more["action"] = build(action, values[_word(action)])
    groups = groups_of(command)
    parts, hints = {name: build(group, values) for name, group in groups.items()}, typing.get_type_hints(command)
    own = {
        field.name: _read(field, hints[field.name], values[_key(field)])
        for field in dataclasses.fields(command)
        if field.name not in (*groups, *more)
    }
    return command(**own, **parts, **more)


def _read(field: dataclasses.Field, hint: Any, value: Any) -> Any:
    """Return the value of a field from the parsed value.

    Raises:
        DataError: an empty text, or null in --config for an option that needs a value.
    """
    if value == "" or (isinstance(value, list) and "" in value):
        raise DataError(f"{_typed(field)} is empty: give it a value, or leave it out")
    if value is None:
        check_not_null(_typed(field), hint)
    read = field.metadata.get("read")
    if read is None or value is None:
        return value
    return [read(each) for each in value] if isinstance(value, list | tuple) else read(value)


def _typed(field: dataclasses.Field) -> str:
    """Return the name of a field in messages."""
    return field.metadata["metavar"] if field.metadata.get("place") else f"--{_key(field).replace('_', '-')}"


def check_not_null(name: str, hint: Any) -> None:
    """Raise DataError for an option that is null in --config, unless its type allows None."""
    if type(None) not in typing.get_args(hint):
        raise DataError(f"{name} is null in --config: give it a value, or leave it out")


def _key(field: dataclasses.Field) -> str:
    """Return the name of a field on the command line, such as `from` for `from_`."""
    return field.name.removesuffix("_")


def _add_options(parser: ArgumentParser, holder: type, target: Any) -> None:
    """Add the options of a command, or of a group, to a parser or to a titled section of its help."""
    hints, groups = typing.get_type_hints(holder, include_extras=True), groups_of(holder)
    texts = texts_of(holder)
    for field in dataclasses.fields(holder):
        if field.name in groups:
            group = groups[field.name]
            title = getattr(group, "TITLE", None)
            summary = (group.__doc__ or "").partition("\n")[0]
            _add_options(parser, group, parser.add_argument_group(title, summary) if title else target)
        elif not field.metadata.get("extra"):
            _add_option(target, field, hints[field.name], texts[field.name])


def _add_option(target: Any, field: dataclasses.Field, hint: Any, text: str) -> None:
    """Add one field to a parser; an option without a type takes any text."""
    how: dict[str, Any] = {"help": text}
    if field.metadata.get("metavar"):
        how["metavar"] = field.metadata["metavar"]
    if field.metadata.get("place"):
        if field.metadata["nargs"]:
            how["nargs"] = field.metadata["nargs"]
        target.add_argument(field.name, **how)
        return
    factory = field.default_factory
    default = field.default if factory is dataclasses.MISSING else factory()
    flag = f"--{_key(field).replace('_', '-')}"
    if field.metadata.get("repeated"):
        target.add_argument(flag, action="append", default=default, **how)
    elif default is dataclasses.MISSING:
        target.add_argument(flag, required=True, **how)
    elif hint is bool:
        target.add_argument(flag, action="store_true", default=default, **how)
    else:
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        kind = kinds[0] if type(None) in typing.get_args(hint) else hint
        target.add_argument(flag, default=default, **how, **({} if kind is str else {"type": kind}))


def _plain(message: str) -> str:
    """Return the parser's message on one line, with options as they are typed."""
    text = " ".join(message.split())
    if text.startswith('expected "classes.action" to be one of'):
        return "classes RUN needs list, add, rename, remove or merge (see texthead classes --help)"
    if text.startswith("Unexpected config: "):
        # The parser quotes the whole file.
        content = text.removeprefix("Unexpected config: ")
        return f"--config needs lines `option: value`, as --print-config prints them, got {content[:40]!r}"
    choice = re.fullmatch(r"argument (\S+): invalid choice: (.*) \(choose from (.*)\)", text)
    if choice:
        name, value, known = choice[1], choice[2], choice[3].replace("'", "").split(", ")
        near = difflib.get_close_matches(value.strip("'"), known, 1)
        if name == "command":
            return f"there is no command {value}{f': did you mean {near[0]}?' if near else ''}"
        return f"{name} must be {either(known)}, got {value}"
    option = re.match(r"Subcommand '(\w+)' does not accept option '([\w.]+)'", text)
    if option:
        return f"texthead {option[1]} has no option {option[2]!r} (given in --config)"
    wrong = re.fullmatch(r'Parser key "(?:\w+\.)?(\w+)": (.*)', text)
    if not wrong:
        return text
    option, problem = f"--{wrong[1].replace('_', '-')}", wrong[2]
    kind = re.search(r"Literal\[(.*?)\]|<class '(\w+)'>|Not of type (\w+)|Expected a (tuple)", problem)
    quoted = r"[Gg]ot value|Given value|(?:NonNegativeInt|PositiveFloat|PositiveInt)(?:: invalid literal.*base 10)?"
    value = re.search(rf"(?:{quoted}):(?: '?|$)([^\s']*)", problem)
    if not kind or not value:
        return f"{option}: {problem}"
    rule = either(kind[1].replace("'", "").split(", ")) if kind[1] else _KINDS[kind[2] or kind[3] or kind[4]]
    return f"{option} must be {rule}, got {value[1] or 'nothing'}"


def print_error(line: str) -> None:
    """Print an error as one line; on a terminal, lines end between words."""
    text = f"texthead: {line}"
    if sys.stderr.isatty():
        text = fill(text, shutil.get_terminal_size().columns, break_long_words=False, break_on_hyphens=False)
    print(text, file=sys.stderr)


class _Help(DefaultHelpFormatter):
    """Help without types, and with defaults only if they say something."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=28, width=min(100, shutil.get_terminal_size().columns - 2))

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrap(text, width, break_on_hyphens=False)  # Options such as --freeze-encoder stay whole.

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return fill(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)

    def _get_help_string(self, action: Action) -> str:
        known = action.default in (None, SUPPRESS) or action.default is False
        return f"{action.help or ''}{'' if known else f' (default: {action.default})'}"


class Parser(ArgumentParser):
    """A parser whose errors are one line, and that does not accept abbreviated options."""

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", _Help)
        kwargs.setdefault("print_config", "--print-%s")
        super().__init__(*args, **kwargs)

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Namespace:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the options in a file; check the file first, so that its reader cannot run out of memory."""
        try:
            check_options(Path(path))
        except (OSError, ValueError) as error:
            self.error(f"--config {path}: {error}")
        return super().parse_path(path, *args, **kwargs)

    def _needs(self, word: str, *words: str) -> str:
        """Return the message for a missing argument, from the names of the commands and of the argument."""
        if words:
            commands = next(action for action in self._actions if isinstance(action, _SubParsersAction))
            return commands.choices[word]._needs(*words)
        action = next(action for action in self._actions if action.dest == word)
        typed = action.option_strings[-1] if action.option_strings else action.metavar
        command = self.prog.replace(" [options]", "").removeprefix("texthead ")
        return f"{command} needs {typed} (see texthead {command} --help)"

    def error(self, message: str, ex: Exception | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Print the message and exit with 2, or raise it if the parser was made so."""
        required = re.fullmatch(r"the following arguments are required: ([\w.]+)", message)
        line = self._needs(*required[1].split(".")) if required else _plain(message)
        if not self.exit_on_error:
            raise ArgumentError(None, line) from ex
        unknown = re.match(r"unrecognized arguments: (--[\w-]+)", line)
        near = difflib.get_close_matches(unknown[1], self._option_string_actions, 1) if unknown else []
        line += f": did you mean {near[0]}?" if near else ""
        several = any(action.nargs in ("*", "+") and not action.option_strings for action in self._actions)
        if re.match(r"unrecognized arguments: [^-]", line) and several:
            line += ": put all files together before the options"
        if "--help)" not in line:
            line += f" (see {self.prog.replace(' [options]', '')} --help)"
        print_error(line)
        sys.exit(2)
