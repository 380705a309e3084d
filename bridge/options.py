"""From the declaration of a setting to the places where a user can write it, and back.

An option `outbox_policy` is `--outbox-policy` on the command line, `LIBVIRT_MQTT_OUTBOX_POLICY` in the
environment and `outbox_policy` in the TOML file, at its top or in the table of one program (`[agent]`), which
takes precedence there. The command line takes precedence over the environment, that over the file. An empty
variable counts as unset, as compose files and unit files can't omit one.
"""

import argparse
import difflib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from bridge.errors import ConfigError, OptionError
from bridge.log import mask, mask_value

PREFIX: Final = "LIBVIRT_MQTT_"
CONFIG_VARIABLE: Final = PREFIX + "CONFIG"
SettingsT = TypeVar("SettingsT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Option:
    """Declares a model's field as an option, in its annotation.

    `accepts` says what is accepted; `name` is the option's name where that isn't the field's (which carries
    the unit); `default` describes a computed default.
    """

    metavar: str
    accepts: str
    name: str = ""
    default: str = ""


@dataclass(frozen=True, slots=True)
class Declared:
    """One option of a program, with everything from its declaration."""

    field: str
    key: str
    metavar: str
    accepts: str
    default: str
    help: str
    switch: bool
    choices: tuple[str, ...]

    @property
    def flag(self) -> str:
        """As on the command line."""
        return "--" + self.key.replace("_", "-")

    @property
    def variable(self) -> str:
        """As in the environment."""
        return PREFIX + self.key.upper()


@dataclass(frozen=True, slots=True)
class Found:
    """A value as the user wrote it, and where."""

    value: object
    origin: str


@dataclass(frozen=True, slots=True)
class Loaded(Generic[SettingsT]):
    """A program's settings, where each field came from, and what was found that has no meaning."""

    settings: SettingsT
    origins: Mapping[str, str]
    unknown_variables: Mapping[str, str | None]
    """Each with the variable that may have been meant."""


def declared(model: type[BaseModel]) -> Iterator[Declared]:
    """The options of a program, in the order of their declaration."""
    for name, field in model.model_fields.items():
        option = next((entry for entry in field.metadata if isinstance(entry, Option)), None)
        if option is None:
            raise TypeError(f"{model.__name__}.{name} is no option: its annotation has no Option")
        default = option.default
        if not default:
            default = "none" if field.default is None else show(field.default)
        yield Declared(
            field=name,
            key=option.name or name,
            metavar=option.metavar,
            accepts=option.accepts,
            default=default,
            help=field.description or "",
            switch=field.annotation is bool,
            choices=_choices(field.annotation),
        )


def _choices(annotation: object) -> tuple[str, ...]:
    """The values of a Literal, also where it may be None."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(choice for each in get_args(annotation) for choice in _choices(each))


def show(value: object) -> str:
    """A setting's value as a user would write it, secrets masked."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return mask_value(str(value))


def add_arguments(parser: argparse.ArgumentParser, model: type[BaseModel]) -> None:
    """Adds the options of a program, and `--config`, to a parser. Their values stay text."""
    parser.add_argument("--config", metavar="FILE", help=f"a TOML file with settings [{CONFIG_VARIABLE}]")
    for option in declared(model):
        text = f"{option.help} Default: {option.default}. [{option.variable}]".replace("%", "%%")
        if option.switch:
            parser.add_argument(
                option.flag, dest=option.field, action=argparse.BooleanOptionalAction, default=None, help=text
            )
        else:
            parser.add_argument(option.flag, dest=option.field, metavar=option.metavar, help=text)


def load(
    model: type[SettingsT],
    program: str,
    arguments: Mapping[str, object],
    environ: Mapping[str, str],
    known: Mapping[str, type[BaseModel]],
) -> Loaded[SettingsT]:
    """The settings of a program from all sources.

    `arguments` are the parsed command line's, None for what wasn't given. `known` are all programs with their
    settings: a file or an environment that serves several of them may name what only another one has. Raises
    ConfigError, with one line that says which option, where from, what was given and what is accepted.
    """
    options = {option.field: option for option in declared(model)}
    path = arguments.get("config") or environ.get(CONFIG_VARIABLE)
    found: dict[str, Found] = {}
    if path:
        found |= _from_file(Path(str(path)), program, options.values(), known)
    for field, option in options.items():
        if environ.get(option.variable):
            found[field] = Found(environ[option.variable], f"{option.variable} in the environment")
        if arguments.get(field) is not None:
            found[field] = Found(arguments[field], f"{option.flag} on the command line")
    values = {field: _plain(options[field], entry) for field, entry in found.items()}
    try:
        settings = model.model_validate(values)
    except ValidationError as error:
        raise _option_error(error, options, found) from None
    origins = {field: found[field].origin if field in found else "default" for field in options}
    return Loaded(settings, origins, dict(_unknown_variables(environ, known)))


def _from_file(
    path: Path, program: str, options: Iterable[Declared], known: Mapping[str, type[BaseModel]]
) -> dict[str, Found]:
    content = _read_toml(path)
    keys = {name: {option.key for option in declared(model)} for name, model in known.items()}
    everything = set[str]().union(*keys.values())
    found: dict[str, Found] = {}
    for key, value in content.items():
        if key in keys and isinstance(value, dict):
            for inner in value:
                _check_key(inner, keys[key], f"[{key}] in {path}")
        else:
            _check_key(key, keys if isinstance(value, dict) else everything, str(path))
    own = content.get(program)
    table = own if isinstance(own, dict) else {}
    for option in options:
        if option.key in table:
            found[option.field] = Found(table[option.key], f"[{program}] in {path}")
        elif option.key in content:
            found[option.field] = Found(content[option.key], str(path))
    return found


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise OptionError(
            "config", origin="the settings file", given=f"{path}: {error.strerror}", accepted="a TOML file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(
            "config",
            origin="the settings file",
            given=f"{path}: {_one_line(error)}",
            accepted="TOML 1.0, UTF-8",
        ) from None


def _check_key(key: str, accepted: Iterable[str], origin: str) -> None:
    accepted = sorted(accepted)
    if key not in accepted:
        near = nearest(key.replace("-", "_"), accepted)
        hint = f"{near} (meant?), " if near else ""
        others = ", ".join(name for name in accepted if name != near)
        raise OptionError(_one_line(key), origin=origin, given="an unknown key", accepted=hint + others)


def _plain(option: Declared, found: Found) -> object:
    """A value as text, as from a command line, so that all sources are read alike.

    Only a switch may be a boolean.
    """
    value = found.value
    if isinstance(value, bool) and option.switch:
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _wrong(option, found)
    text = str(value)
    if any(character < " " or "\x7f" <= character <= "\x9f" for character in text) or not _encodable(text):
        raise _wrong(option, found, "no control characters, no broken UTF-8")
    return text


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _option_error(
    error: ValidationError, options: Mapping[str, Declared], found: Mapping[str, Found]
) -> ConfigError:
    """The first of pydantic's errors as one line."""
    first = error.errors(include_url=False)[0]
    context = first.get("ctx", {})
    field = context.get("option") or first["loc"][0]
    option = options[str(field)]
    cause = context.get("reason") or context.get("error")
    entry = found.get(option.field, Found(option.default, "default"))
    return _wrong(option, entry, str(cause or ""), context.get("accepted") or option.accepts)


def _wrong(option: Declared, found: Found, cause: str = "", accepted: str = "") -> OptionError:
    given = repr(mask_value(found.value)) if isinstance(found.value, str) else show(found.value)
    return OptionError(
        option.key,
        origin=found.origin,
        given=_one_line(f"{given}, {cause}" if cause else given),
        accepted=accepted or option.accepts,
    )


def _one_line(text: object) -> str:
    line = " ".join(mask(str(text)).split())
    line = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in line)
    return line if len(line) <= 500 else line[:500] + "…"


def nearest(given: str, accepted: Iterable[str]) -> str | None:
    """What was probably meant by an unknown name."""
    return next(iter(difflib.get_close_matches(given, list(accepted), n=1)), None)


def _unknown_variables(
    environ: Mapping[str, str], known: Mapping[str, type[BaseModel]]
) -> Iterator[tuple[str, str | None]]:
    variables = {option.variable for model in known.values() for option in declared(model)}
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in variables and name != CONFIG_VARIABLE:
            yield name, nearest(name, variables)


def render(loaded: Loaded[SettingsT]) -> Iterator[str]:
    """The effective settings as a TOML file, with where each came from; secrets masked."""
    for option in declared(type(loaded.settings)):
        value = getattr(loaded.settings, option.field)
        origin = _one_line(loaded.origins[option.field])
        if value is None:
            yield f"# {option.key} is not set: {option.default}"
        elif isinstance(value, bool | int | float):
            yield f"{option.key} = {show(value)}  # {origin}"
        else:
            yield f"{option.key} = {json.dumps(show(value), ensure_ascii=False)}  # {origin}"
