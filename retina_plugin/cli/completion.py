"""Print a script that completes verbs, flags and configs in bash or zsh."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from retina_plugin.cli.output import write
from retina_plugin.cli.parser import verb_parsers

if TYPE_CHECKING:
    from retina_plugin.cli.parser import Parser

EXAMPLES = """Print a script that completes the words of retina: verbs, flags and their values,
files, packaged configs, and keys of configs after a capital letter. Put the line for your shell
into ~/.bashrc or ~/.zshrc.

    eval "$(retina completion bash)"
    eval "$(retina completion zsh)"   # after compinit"""

# Both scripts choose completions by the verb and the previous word. A word that starts with a
# capital letter is a config key.
BASH = """\
_retina() {
  local word="${COMP_WORDS[COMP_CWORD]}" verb="${COMP_WORDS[1]}"
  local previous="${COMP_WORDS[COMP_CWORD-1]}"
  local choices="" configs="" files="" keys=""
  [ "$COMP_CWORD" -eq 1 ] && verb=""
  # bash makes three words of --flag=value
  [ "$word" = "=" ] && word=""
  [ "$previous" = "=" ] && previous="${COMP_WORDS[COMP_CWORD-2]}"
  case "$verb" in @NESTED@) [ "$COMP_CWORD" -gt 2 ] && verb="$verb ${COMP_WORDS[2]}" ;; esac
  case "$verb $previous" in
@CASES@
  esac
  case "$word" in [A-Z]*) [ -n "$keys" ] && choices="@KEYS@" ;; esac
  [ -n "$configs" ] && choices="$choices @CONFIGS@"
  COMPREPLY=($(compgen -W "$choices" -- "$word"))
  if [ -n "$files" ]; then
    local file
    while IFS= read -r file; do COMPREPLY+=("$file"); done < <(compgen -f -- "$word")
    compopt -o filenames 2>/dev/null
  fi
}
complete -F _retina retina
"""
ZSH = """\
_retina() {
  local verb="${words[2]}" choices="" configs="" files="" keys=""
  (( CURRENT == 2 )) && verb=""
  case "$verb" in @NESTED@) (( CURRENT > 3 )) && verb="$verb ${words[3]}" ;; esac
  case "$verb ${words[CURRENT-1]}" in
@CASES@
  esac
  [[ -n $keys && ${words[CURRENT]} == [A-Z]* ]] && choices="@KEYS@"
  [[ -n $configs ]] && choices="$choices @CONFIGS@"
  [[ -n $choices ]] && compadd -- ${=choices}
  [[ -n $files ]] && _files
  return 0
}
compdef _retina retina
"""


def add_arguments(parser: Parser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh"), metavar="SHELL", help="bash or zsh")


def run(args: argparse.Namespace) -> None:
    from retina_plugin.cli.command import build_parser

    write(script(args.shell, build_parser()))


def script(shell: str, parser: Parser) -> str:
    """Return the script for ``shell``, "bash" or "zsh", for the parser of ``retina``."""
    from retina_plugin.config import DETECTRON2_KEYS, PLUGIN_KEYS
    from retina_plugin.config.packaged import packaged_configs

    text = {"bash": BASH, "zsh": ZSH}[shell]
    keys = " ".join(sorted([*DETECTRON2_KEYS, *PLUGIN_KEYS]))
    nested = [verb for verb, below in verb_parsers(parser).items() if verb_parsers(below)]
    text = text.replace("@NESTED@", "|".join(nested))
    text = text.replace("@CASES@", "\n".join(_cases(parser)))
    return text.replace("@CONFIGS@", " ".join(packaged_configs())).replace("@KEYS@", keys)


def _cases(parser: Parser) -> Iterator[str]:
    """Yield the cases of the script: one per flag that has a value, and one per verb. The
    cases of nested verbs come first, because the pattern of their parent verb matches them too."""
    verbs = verb_parsers(parser)
    for verb, verb_parser in verbs.items():
        for below, below_parser in verb_parsers(verb_parser).items():
            yield from _cases_of_verb(f"{verb} {below}", below_parser)
        yield from _cases_of_verb(verb, verb_parser)
    yield _case("\\ *", words=[*verbs, "--help", "--version"])


def _cases_of_verb(verb: str, parser: Parser) -> Iterator[str]:
    flags = [a for a in parser._actions if a.option_strings]
    for action in flags:
        if action.nargs != 0:
            yield _case(f'"{verb} {action.option_strings[-1]}"', action)
    words = [action.option_strings[-1] for action in flags]
    others = [a for a in parser._actions if not a.option_strings]
    pattern = verb.replace(" ", "\\ ")
    yield _case(f"{pattern}\\ *", *others, words=words)


def _case(pattern: str, *actions: argparse.Action, words: Sequence[str] = ()) -> str:
    """Return one case of the script: the words, configs, files and keys that it completes."""
    kinds = {kind for action in actions for kind in str(action.metavar).split()}
    choices = [*words, *(c for action in actions for c in action.choices or ())]
    takes = {
        "configs": any(action.dest in ("config_file", "file") for action in actions),
        "files": kinds & {"FILE", "[FOLDER]", "DATA", "DIR"},
        "keys": "KEY" in kinds,
    }
    sets = [f'choices="{" ".join(choices)}"'] if choices else []
    sets += [f"{name}=1" for name, is_taken in takes.items() if is_taken]
    return f"    {pattern}) {' '.join(sets)} ;;"
