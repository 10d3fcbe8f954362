"""Reading the settings, and saying in one line what is wrong with them."""

import os

from pydantic import AliasChoices, ValidationError

from server.settings import Settings


class BadSettings(Exception):
    """A setting that can't be used; the message is one line and names the variable."""


def read_settings() -> Settings:
    """Read the environment.

    Raises:
        BadSettings: a variable is missing or has a value that can't be used.
    """
    try:
        return Settings()  # type: ignore[call-arg]  # filled from the environment
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        raise BadSettings(message)
    field = str(problem["loc"][0])
    variable = _variable(field)
    if problem["type"] == "missing":
        raise BadSettings(f"{variable} is not set. {_takes(field)}")
    if variable in ("RELOAD_TOKEN", "API_KEY"):
        raise BadSettings(f"{variable} can't be used: {message}")
    value = next(v for name, v in os.environ.items() if name.upper() == variable)
    raise BadSettings(f"{variable}={value!r}: {message}. {_takes(field)}")


def _variable(field: str) -> str:
    """The variable that a field was read from."""
    aliases = Settings.model_fields[field].validation_alias
    names = aliases.choices if isinstance(aliases, AliasChoices) else [field]
    given = {name.upper() for name, value in os.environ.items() if value}
    variables = [str(name).upper() for name in names]
    return next((name for name in variables if name in given), variables[0])


def _takes(field: str) -> str:
    description = Settings.model_fields[field].description or ""
    return f"It takes: {description}"
