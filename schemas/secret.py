"""Settings that must not be printed: from a variable, or from a file that another variable names.

Every setting that may hold a password, a key or a URL with one is a `SecretStr`: it shows as asterisks wherever it is
printed. Instead of the variable `X`, `X_FILE` may name a file with its value. Such a file is read again whenever the
value is asked for, so that a password that is replaced while a process runs is the next connection's.
"""

import base64
import re
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import AfterValidator, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

FILE: Final = "_FILE"
_LOGIN: Final = re.compile(r"(?<=://)\S*@")
HIDDEN: Final = "***"


class FileSecret(SecretStr):
    """What stands in a file now, without the line feed at its end. Raises OSError when made from one that is away."""

    def __init__(self, path: Path) -> None:
        super().__init__(_content(path))
        self._path = path

    def get_secret_value(self) -> str:
        """What stands there now; while the file is being replaced, what stood there last."""
        try:
            self._secret_value = _content(self._path) or self._secret_value
        except (OSError, ValueError):
            return self._secret_value
        return self._secret_value


def _content(path: Path) -> str:
    return path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")


def _is_web_url(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if url and not good:
        raise ValueError("is no URL: http://host:port or https://user:password@host")
    return value


WebUrl = Annotated[SecretStr, AfterValidator(_is_web_url)]
"""The URL of a server, with a login or without one. What is none is refused without being told."""


class SecretSettings(BaseSettings):
    """Settings whose secrets may stand in files. Not read by itself: settings classes inherit it."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Files before variables: an empty variable beside a file's name is none."""
        return init_settings, _Files(settings_cls), env_settings


class _Files(EnvSettingsSource):
    """Reads what `X_FILE` names."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """(the secret, or None; the key that validation knows it by; whether it is JSON)."""
        key = str(field.validation_alias or field_name)
        variable = key.upper()
        path = self.env_vars.get((variable + FILE).lower()) if is_secret(field) else None
        if not path:
            return None, key, False
        if self.env_vars.get(variable.lower()):
            raise self._wrong(variable + FILE, f"{variable} is given too: one of them")
        try:
            return FileSecret(Path(path)), key, False
        # what was meant to be its name may be the secret itself: it is not told
        except OSError as error:
            raise self._wrong(variable + FILE, f"the file can't be read: {error.strerror}") from None
        except ValueError:
            raise self._wrong(variable + FILE, "the file is no UTF-8") from None

    def __call__(self) -> dict[str, Any]:
        found = (self.get_field_value(field, name) for name, field in self.settings_cls.model_fields.items())
        return {key: value for value, key, _ in found if value is not None}

    def _wrong(self, variable: str, why: str) -> ValidationError:
        detail = InitErrorDetails(type=PydanticCustomError("secret_file", why), loc=(variable,), input=None)
        return ValidationError.from_exception_data(self.settings_cls.__name__, [detail], hide_input=True)


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting must not be printed."""
    return field.annotation is SecretStr


def secret(value: SecretStr | str) -> SecretStr:
    """A value that must not be printed, as one that isn't."""
    return value if isinstance(value, SecretStr) else SecretStr(value)


def without_login(url: str) -> str:
    """A URL as it may be printed: without user, password and query."""
    try:
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:
        return HIDDEN


def login_of(url: str) -> tuple[str, dict[str, str]]:
    """(the URL without a login, the header that says the login): for a client that takes none from a URL."""
    login, _, host = urlsplit(url).netloc.rpartition("@")
    if not login:
        return url, {}
    encoded = base64.b64encode(unquote(login).encode()).decode()
    return url.replace(f"{login}@{host}", host, 1), {"Authorization": f"Basic {encoded}"}


def masked(text: str) -> str:
    """A text in which no URL has a login any more: for what other libraries say in their errors."""
    return _LOGIN.sub(f"{HIDDEN}@", text)
