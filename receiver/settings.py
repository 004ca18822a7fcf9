"""Settings: environment variables, or a ``.env`` file in the directory that the program is started in.

Built once per entry point and passed on; nothing else in Pinrail reads the environment.
"""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from ml.env_file import Destinations, export_env_file, read_env_file, require_one_source
from ml.errors import MlError
from ml.evidence_key import OWN_KEY, EvidenceKey, own_key
from ml.registry.client import without_scheme
from receiver.adapters.git.signing import SigningKey
from receiver.adapters.secret_files import SUFFIX, read_secret_files
from receiver.core.errors import Rejected

MLFLOW_CREDENTIALS = frozenset(
    {"MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "DATABRICKS_TOKEN", "DATABRICKS_CLIENT_SECRET"}
)
GITHUB: Destinations = {("GITHUB_TOKEN",): ("PINRAIL_REPO_URL", "GITHUB_API_URL")}  # and where it is sent to
MLFLOW_SECRETS = MLFLOW_CREDENTIALS | {"MLFLOW_TRACKING_USERNAME"}

log = logging.getLogger(__name__)

SHARED_HOSTS = ("127.0.0.1", "localhost", "0.0.0.0")  # noqa: S104 - where model servers and listeners would meet
ALLOWED = {  # by pydantic's names of what can be wrong
    "bool_parsing": "true or false",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "int_parsing": "a whole number",
    "literal_error": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "string_pattern_mismatch": "what matches {pattern}",
}
TESTS = "PINRAIL_REQUIRE_"  # what the tests may not skip
SHORTEST_WEBHOOK_SECRET = 16  # characters; whoever guesses a shorter one can sign deliveries

TargetName = Literal["process", "compose"]  # `auto` chooses between them
Port = Annotated[int, Field(ge=1, le=65535)]


class _EnvFile(EnvSettingsSource):
    """``.env``, by the reader that ml's commands use too: pydantic's own expands ``${...}`` in passwords."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in read_env_file().items()}


class Settings(BaseSettings):
    """Every setting, with its default. The name in the environment is the field's name in capitals."""

    model_config = SettingsConfigDict(
        extra="ignore", frozen=True, env_ignore_empty=True, use_attribute_docstrings=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        *_: PydanticBaseSettingsSource,
        **named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, and that over ``.env``."""
        return named["init_settings"], named["env_settings"], _EnvFile(settings_cls)

    pinrail_repo_url: Annotated[str | None, Field(repr=False)] = None
    """Required. Git URL of the repository with ``environments/``: https, ssh or file. Never taken from a webhook."""

    pinrail_branch: str = "main"
    """The branch to watch; its head says what should run."""

    pinrail_webhook_secret: SecretStr | None = None
    """Required by ``pinrail up``. Secret of GitHub's webhook, 16 characters or more. Rotating: ``old,new``."""

    pinrail_mlflow_webhook_secret: SecretStr | None = None
    """The secret set in MLflow's webhook, 16 characters or more; ``/webhooks/mlflow`` is 404 without."""

    pinrail_labels_token: SecretStr | None = None
    """What ``POST /api/labels`` wants as bearer token, 16 characters or more; it takes in nothing without."""

    pinrail_admin_token: SecretStr | None = None
    """Who has it may promote, roll back, hold and retry on the dashboard, 16 characters or more; nobody without."""

    pinrail_state_dir: Path = Path(".pinrail")
    """Where queue, journal, git mirror, artifact cache and logs live. One receiver per directory."""

    pinrail_target: Literal["auto", "process", "compose"] = "auto"
    """Where model servers run; ``auto`` is compose if a docker engine has the serving image, else process."""

    pinrail_project: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")] = "pinrail"
    """First part of the names of compose projects; a second receiver on one docker engine needs another."""

    pinrail_serving_image: str | None = None
    """The model servers' image, by digest (``registry/name@sha256:...``); default: what ``pinrail build`` makes."""

    pinrail_base_image: str | None = None
    """What ``pinrail build`` builds on, best by digest: Debian with Python 3.11 and pip; default: Docker's own."""

    pinrail_front_image: str | None = None
    """The front doors' image, best by digest: HAProxy 2.6 or later, with bash; default: ``haproxy:2.6``."""

    pinrail_log_requests: bool = False
    """On compose: log every request at the front doors (`docker logs`), not only those that failed."""

    pinrail_poll_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60
    """How often to poll branch and registry; the servers are asked every two seconds."""

    pinrail_download_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 120
    """How long one download of a version may take; the next try goes on from the files that are complete."""

    pinrail_version_mb: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10_000
    """How many MB one version may have; a larger one is refused before, or while, it is downloaded."""

    pinrail_cache_mb: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 20_000
    """How many MB of versions are kept, and of their packages; what runs, is verified or was used today stays."""

    pinrail_stabilise_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10
    """How long a new version is watched under traffic, with the old one warm, before it counts as verified."""

    pinrail_parallel: Annotated[int | None, Field(ge=1)] = None
    """How many new model servers may start at once, and as many that are restored; default: two per processor."""

    pinrail_heal: bool = True
    """Correct drift (a moved alias, a dead server); ``false`` only reports it."""

    pinrail_confine: bool = True
    """On process: keep models from connections and other files; ``false``: they have this user's rights."""

    pinrail_candidates: bool = True
    """With a ``GITHUB_TOKEN``: run the gate on new versions and propose the best; ``false`` leaves that to CI."""

    pinrail_evaluation_dir: Path | None = None
    """Rows to measure new versions on: ``<model>.csv`` with answers in ``label``, or ``<model>/`` of ml.snapshot."""

    pinrail_host: str = "127.0.0.1"
    """The address that model servers answer on. Both listeners of the receiver stay on 127.0.0.1."""

    pinrail_public_port: Port = 9000
    """The public listener: webhooks, and nothing else. This is what the tunnel exposes."""

    pinrail_admin_port: Port = 9001
    """The admin listener: dashboard, API, health and metrics. Do not expose it."""

    pinrail_notify_urls: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Apprise URLs to notify of outcomes, separated by spaces."""

    mlflow_tracking_uri: str = "http://127.0.0.1:5000"
    """The MLflow server; its credentials are MLflow's own variables (``MLFLOW_TRACKING_TOKEN`` and others)."""

    github_token: SecretStr | None = None
    """Reads a private repository over https, opens pull requests, and marks commits and deployments."""

    github_api_url: str = "https://api.github.com"
    """GitHub's API; another one for GitHub Enterprise."""

    pinrail_signing_key: str | None = None
    """Signs the commits that are pushed: the path of an SSH key, or an OpenPGP key's fingerprint."""

    pinrail_evidence_key: SecretStr | None = None
    """The private key that evidence is signed with, in PEM; default: one made at the first start (`pinrail key`)."""

    ngrok_authtoken: SecretStr | None = None
    """Opens the tunnel from GitHub to the public listener."""

    pinrail_tunnel_domain: str | None = None
    """A domain reserved at ngrok, such as ``pins.example.dev``; without it ngrok chooses a name at each start."""

    @field_validator("pinrail_notify_urls", mode="before")
    @classmethod
    def _split_urls(cls, value: Any) -> Any:
        return tuple(value.split()) if isinstance(value, str) else value

    @field_validator("pinrail_webhook_secret")
    @classmethod
    def _one_or_two_secrets(cls, value: SecretStr | None) -> SecretStr | None:
        parts = [part.strip() for part in value.get_secret_value().split(",")] if value is not None else []
        if len(parts) > 2:  # noqa: PLR2004 - old and new
            raise ValueError(
                f"found {len(parts) - 1} commas, allowed one, between the old and the new secret while rotating: "
                "choose a secret without a comma"
            )
        for part in parts:
            _require_strong(part, "each side of the comma" if len(parts) > 1 else "the secret")
        return value

    @field_validator("pinrail_mlflow_webhook_secret", "pinrail_labels_token", "pinrail_admin_token")
    @classmethod
    def _one_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _require_strong(value.get_secret_value(), "the secret")
        return value

    @field_validator("pinrail_evidence_key")
    @classmethod
    def _an_evidence_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                EvidenceKey(value.get_secret_value())
            except MlError as error:
                raise ValueError(str(error)) from None
        return value

    @field_validator("mlflow_tracking_uri")
    @classmethod
    def _a_url(cls, value: str) -> str:
        if wrong := without_scheme(value):
            raise ValueError(wrong)
        return value

    @field_validator("pinrail_signing_key")
    @classmethod
    def _names_a_key(cls, value: str | None) -> str | None:
        if value is not None:
            SigningKey.parse(value)
        return value

    @field_validator("pinrail_state_dir", "pinrail_evaluation_dir")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value else None

    @model_validator(mode="after")
    def _separate_ports(self) -> Self:
        if self.pinrail_public_port == self.pinrail_admin_port:
            raise ValueError("PINRAIL_PUBLIC_PORT and PINRAIL_ADMIN_PORT must differ: the tunnel exposes the first")
        return self

    @property
    def signing_key(self) -> SigningKey | None:
        """The key that commits are signed with."""
        return SigningKey.parse(self.pinrail_signing_key) if self.pinrail_signing_key else None

    @property
    def evidence_key(self) -> EvidenceKey:
        """The key that evidence is signed with; made where there is none yet. Rejected: it cannot be."""
        if self.pinrail_evidence_key is not None:
            return EvidenceKey(self.pinrail_evidence_key.get_secret_value())
        try:
            return own_key(self.pinrail_state_dir)
        except MlError as error:
            raise Rejected(str(error)) from error

    @property
    def known_evidence_key(self) -> str | None:
        """Its public key; None: no receiver has run here, so that another machine's may be the one that counts.

        Empty: it cannot be read. `pinrail up` and `pinrail doctor` say so; the way back needs no key.
        """
        if self.pinrail_evidence_key is None and not (self.pinrail_state_dir / OWN_KEY).exists():
            return None
        try:
            return self.evidence_key.public
        except Rejected:
            return ""

    @property
    def own_ports(self) -> dict[int, str]:
        """The receiver's ports that no pin can have, each with the setting that names it."""
        if self.pinrail_host not in SHARED_HOSTS:
            return {}
        return {self.pinrail_public_port: "PINRAIL_PUBLIC_PORT", self.pinrail_admin_port: "PINRAIL_ADMIN_PORT"}

    @property
    def registry_addresses(self) -> tuple[str, ...]:
        """The registry's URL, and its host and port: neither belongs on GitHub."""
        host = urlsplit(self.mlflow_tracking_uri).netloc.rpartition("@")[2]
        return (self.mlflow_tracking_uri, host) if host else ()

    @property
    def webhook_secrets(self) -> tuple[bytes, ...]:
        """The accepted webhook secrets as bytes."""
        secret = self.pinrail_webhook_secret
        return tuple(part.strip().encode() for part in secret.get_secret_value().split(",")) if secret else ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Everything that no log, answer or status may contain."""
        held = (
            self.pinrail_mlflow_webhook_secret,
            self.pinrail_labels_token,
            self.pinrail_admin_token,
            self.github_token,
            self.ngrok_authtoken,
            self.pinrail_evidence_key,
            *self.pinrail_notify_urls,
        )
        named = (value.get_secret_value() for value in held if value is not None)
        foreign = (value for name, value in os.environ.items() if name in MLFLOW_CREDENTIALS)
        return (*named, *foreign, *(secret.decode() for secret in self.webhook_secrets))

    @property
    def repository(self) -> str | None:
        """``owner/name`` where the URL says one, else None. Only pushes to this repository are heard."""
        found = re.search(r"[:/]([^/:]+/[^/]+?)(?:\.git)?/?$", self.pinrail_repo_url or "")
        return found[1] if found else None


def load_settings(*required: str, **overrides: Any) -> Settings:
    """Read the settings, and warn of those that are misspelt; ``required`` names fields that must not be None.

    Rejected, with one line per wrong or missing variable.
    """
    settings = read_settings(**overrides)
    for line in misspelt():
        log.warning("%s", line)
    missing = [name for name in required if getattr(settings, name) is None]
    if missing:
        raise Rejected("settings:\n  " + "\n  ".join(_ask_for(name) for name in missing))
    return settings


def read_settings(**overrides: Any) -> Settings:
    """Read the settings as far as they are there. Rejected, with one line per wrong variable."""
    try:
        export_env_file()  # MLflow reads its credentials from the environment only
        require_one_source(GITHUB, read_env_file())
        found = read_secret_files(_secret_names(), {**read_env_file(), **os.environ})
        os.environ.update({name: value for name, value in found.items() if name in MLFLOW_SECRETS})
        given = {name.lower(): value for name, value in found.items() if name not in MLFLOW_SECRETS}
        return Settings(**{**given, **overrides})
    except MlError as error:
        raise Rejected(f"settings:\n  {error}") from error
    except ValidationError as error:
        lines = [_wrong(e) for e in error.errors()]
        raise Rejected("settings:\n  " + "\n  ".join(lines)) from None  # the cause would show secrets


def _secret_names() -> list[str]:
    """What may be in a file instead: every secret setting, and MLflow's credentials."""
    ours = [name.upper() for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)]
    return [*ours, *sorted(MLFLOW_SECRETS)]


def misspelt() -> Sequence[str]:
    """What ``.env`` or the environment sets that is no setting, each with the one that it looks like."""
    names = [*(name.upper() for name in Settings.model_fields), *(name + SUFFIX for name in _secret_names())]
    found = [(name, ".env") for name in read_env_file()] + [(name, "the environment") for name in os.environ]
    return [
        f"{name} in {place} is no setting" + (f": is {near[0]} meant?" if near else "")
        for name, place in found
        if name not in names and not name.startswith(TESTS)
        for near in [get_close_matches(name, names, 1, 0.8 if name.startswith("PINRAIL_") else 0.9)]
        if name.startswith("PINRAIL_") or (near and place == ".env")
    ]


def _require_strong(secret: str, what: str) -> None:
    """ValueError, which does not show the secret."""
    if len(secret) < SHORTEST_WEBHOOK_SECRET:
        comma = ". A comma separates the old secret from the new one, so no secret has one" if "comma" in what else ""
        raise ValueError(
            f"found {len(secret)} characters, allowed {SHORTEST_WEBHOOK_SECRET} or more for {what}: "
            f"`openssl rand -hex 32` makes one{comma}"
        )
    if not secret.isprintable():  # bytes of the environment that are no UTF-8 are lone surrogates here
        raise ValueError("found characters that are not UTF-8 or do not print: `openssl rand -hex 32` makes a secret")


def _wrong(error: ErrorDetails) -> str:
    """One of pydantic's errors in our words: found, allowed and what to do. A secret is not shown."""
    if error["type"] == "value_error":  # ours; of several settings together it has no place
        said = error["msg"].removeprefix("Value error, ")
        return f"{str(error['loc'][0]).upper()}: {said}" if error["loc"] else said
    name, words = str(error["loc"][0]), error.get("ctx", {})
    allowed = ALLOWED.get(error["type"], "another value").format(**words)
    secret = "Secret" in str(Settings.model_fields[name].annotation)
    found = "a value of another kind" if secret else repr(error["input"])
    return f"{name.upper()}: found {found}, allowed {allowed}: correct it"


def _ask_for(name: str) -> str:
    description = (Settings.model_fields[name].description or "").replace("``", "`")
    file = Path(".env").absolute()
    place = file if file.exists() else f"{file} (there is none; .env.example shows how)"
    return f"{name.upper()} is not set: set it in the environment or in {place}. {description}"
