"""Shell scripts that complete the commands and options of `texthead`, made from its parser."""

from argparse import Action, _SubParsersAction
from typing import get_args

from jsonargparse import ArgumentParser

_BASH = """\
# bash and zsh: eval "$(texthead --print-completion {shell})"
_texthead() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command=${{COMP_WORDS[1]}} words= each
  if [[ $command == classes ]]; then
    for each in "${{COMP_WORDS[@]:2:COMP_CWORD-2}}"; do
      case $each in {actions}) command="classes $each" ;; esac
    done
  fi
  if ((COMP_CWORD == 1)); then
    words='{commands}'
  else
    case "$command $before" in
{choices}
    esac
    if [[ ! $words && ($word == -* || $command == classes) ]]; then
      case $command in
{options}
      esac
    fi
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _texthead texthead
"""


def script(parser: ArgumentParser, shell: str) -> str:
    """Return the script of a shell: bash, zsh or fish.

    Args:
        parser: the parser of all commands.
    """
    commands = _commands(parser)
    return _fish(commands) if shell == "fish" else _bash(commands, shell)


def _commands(parser: ArgumentParser) -> dict[str, tuple[str, ArgumentParser]]:
    """Return (help, parser) of each command and action, such as "train" and "classes add"; "" is `texthead` itself."""
    found = {"": ("", parser)}
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            texts = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, inner in action.choices.items():
                for words, (text, each) in _commands(inner).items():
                    found[f"{name} {words}".strip()] = (text or texts.get(name, ""), each)
    return found


def _options(parser: ArgumentParser) -> dict[str, Action]:
    return {flag: action for action in parser._actions for flag in action.option_strings if flag.startswith("--")}


def _values(action: Action) -> list[str]:
    """Return the values of an option that takes one of a few."""
    kinds = [action.choices or (), get_args(getattr(action, "_typehint", None))]
    flat = [value for kind in kinds for each in kind for value in (get_args(each) or [each])]
    return [value for value in flat if isinstance(value, str)]


def _bash(commands: dict[str, tuple[str, ArgumentParser]], shell: str) -> str:
    top = [name for name in commands if name and " " not in name]
    actions = [name.partition(" ")[2] for name in commands if " " in name]
    choices, options = [], []
    for name, (_, parser) in commands.items():
        flags = _options(parser)
        words = [*flags, *(actions if name == "classes" else ())]
        if name:
            options.append(f"        '{name}') words='{' '.join(words)}' ;;")
        for flag, action in flags.items():
            if values := _values(action):
                choices.append(f"      '{name or flag} {flag}') words='{' '.join(values)}' ;;")
    start = "autoload -U bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return start + _BASH.format(
        shell=shell,
        commands=" ".join([*top, *_options(commands[""][1])]),
        actions="|".join(actions),
        choices="\n".join(choices),
        options="\n".join(options),
    )


def _fish(commands: dict[str, tuple[str, ArgumentParser]]) -> str:
    lines = ["# fish: texthead --print-completion fish | source"]
    for name, (text, parser) in commands.items():
        *outer, own = name.split() or [""]
        before = " ".join(outer)
        here = f"__fish_seen_subcommand_from {before}" if before else "__fish_use_subcommand"
        if own:
            lines.append(f"complete -c texthead -n '{here}' -a {own} -d {_quoted(text)}")
            here = f"__fish_seen_subcommand_from {own}"
        for flag, action in _options(parser).items():
            values = f" -x -a '{' '.join(_values(action))}'" if _values(action) else ""
            takes = " -r" if action.nargs != 0 and not values else ""
            lines.append(
                f"complete -c texthead -n '{here}' -l {flag[2:]}{values}{takes} -d {_quoted(action.help or '')}"
            )
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    words = " ".join(text.split()).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{words}'"
