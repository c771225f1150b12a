"""How options are read: values as YAML, all options from a file, errors and exit codes.

``Assignment``   the type of ``--set rank=4``
``dump``         settings as YAML that ``--config`` reads
``Commands``     the group of commands: messages without traceback, exit codes
``use_config``   the callback of ``--config``
``typed``        the command as it was typed
"""

import re
import shlex
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import yaml


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-3 as a number and None as nothing, as Python does."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?e[-+]?\d+$", re.I), [*"+-0123456789"]
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("None$"), ["N"])


class _Texts(yaml.SafeLoader):
    """Safe YAML of which every entry is text, as on the command line: 5, no and 2026-01-31 too."""

    yaml_implicit_resolvers = {"<": yaml.SafeLoader.yaml_implicit_resolvers["<"]}  # "<<" merges


def parse(text: str) -> Any:
    """A value written as YAML; a single "-", which marks unmeasured residues, is text."""
    return text if text == "-" else yaml.load(text, _Loader)


def dump(settings: dict[str, Any]) -> str:
    """Settings as YAML, in their order."""
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


class Assignment(click.ParamType):
    """NAME=VALUE, the value as YAML, or as text."""

    name = "NAME=VALUE"

    def __init__(self, as_text: bool = False):
        self.as_text = as_text

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, Any]:
        if isinstance(value, tuple):  # of a mapping in a file
            return value
        name, equals, text = str(value).partition("=")
        if not equals or not name.strip():
            self.fail(f"got {value!r}, expected NAME=VALUE.", param, ctx)
        try:
            return name.strip(), text if self.as_text else parse(text)
        except yaml.YAMLError as error:
            self.fail(f"the value of {name} is no YAML: {error}", param, ctx)


def use_config(ctx: click.Context, param: click.Parameter, path: str | None) -> None:
    """Take the options of a YAML file as defaults of the command."""
    if path is None:
        return
    try:
        content = Path(path).read_bytes()  # in UTF-8 or UTF-16, which PowerShell writes
        found, texts = yaml.load(content, _Loader), yaml.load(content, _Texts)
    except yaml.YAMLError as error:
        raise click.BadParameter(f"{path} is no YAML: {error}", ctx, param) from error
    known = _in_files(ctx.command)
    every: Any = ctx.find_root().command
    elsewhere = {name for command in every.commands.values() for name in _in_files(command)}
    if not isinstance(found, dict) or not found.keys() <= elsewhere:
        odd = sorted(map(str, set(found) - elsewhere)) if isinstance(found, dict) else [type(found).__name__]
        raise click.BadParameter(
            f"{path} has {', '.join(odd)}; expected some of {', '.join(sorted(known))}.", ctx, param
        )
    options = [o for o in ctx.command.params if o.name in known and found.get(o.name) is not None]
    given = {str(o.name): _of_file(o, (found if _is_yaml(o) else texts)[o.name], path) for o in options}
    ctx.default_map = {**(ctx.default_map or {}), **given}


def _is_yaml(option: click.Parameter) -> bool:
    return isinstance(option.type, Assignment) and not option.type.as_text


def _of_file(option: click.Parameter, value: Any, path: str) -> Any:
    """What a file has for an option, as click takes it: one entry, or a list where there may be several."""
    several, assigned = option.multiple, isinstance(option.type, Assignment)
    if isinstance(value, dict) and assigned:
        return [(str(name), entry) for name, entry in value.items()]
    if isinstance(value, dict) or (isinstance(value, list) and not several):
        expected = "NAME: VALUE" if assigned else "one entry or a list" if several else "one entry"
        raise click.BadParameter(f"{option.name} in {path} is {value}; expected {expected}.")
    return value if isinstance(value, list) or not several else [value]


def _in_files(command: click.Command) -> set[str]:
    """Options that a file may have, none for a command without ``--config``."""
    names = {str(param.name) for param in command.params}
    return names - {"config", "dry_run"} if "config" in names else set()


def merge(
    ctx: click.Context, param: click.Parameter, value: tuple[tuple[str, Any], ...], as_dict: Any = dict
) -> dict[str, Any]:
    """Assignments as a dict, those of the command line over those of the file."""
    of_file = (ctx.default_map or {}).get(param.name or "", [])
    return {**as_dict(param.type(item, param, ctx) for item in of_file), **as_dict(value)}


def merge_any(ctx: click.Context, param: click.Parameter, value: tuple[tuple[str, Any], ...]) -> Any:
    """As ``merge``, but several texts of one name become a list of them."""
    return merge(ctx, param, value, _lists)


def _lists(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    texts: dict[str, list[Any]] = {}
    for name, text in pairs:
        texts.setdefault(name, []).append(text)
    return {name: several if len(several) > 1 else several[0] for name, several in texts.items()}


class Commands(click.Group):
    """Errors as one message on the standard error stream, warnings as lines; exit codes 0, 1, 2 and 130."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_TYPED] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                click.echo("Interrupted.", err=True)
                ctx.exit(130)
            except (click.ClickException, click.exceptions.Exit, click.Abort):
                raise
            except Exception as error:
                if ctx.params.get("debug"):
                    raise
                raise click.ClickException(_message(error)) from error


_TYPED = "plmlearn.typed"


def typed() -> str:
    """The command that runs, as a shell reads it."""
    return shlex.join(["plmlearn", *click.get_current_context().meta[_TYPED]])


_EXPECTED = (ValueError, OSError, ImportError, FloatingPointError, MemoryError)


def _message(error: Exception) -> str:
    if isinstance(error, _EXPECTED):
        return str(error) or type(error).__name__
    return f"{type(error).__name__}: {error}\n'plmlearn --debug' before the command shows where."


def _show_warning(message: Any, *args: Any, **kwargs: Any) -> None:
    click.echo(f"Warning: {message}", err=True)
