"""What MODEL_URI stands for, and the three ways in which that may not be known."""

from dataclasses import dataclass
from typing import TypeAlias

Identity: TypeAlias = tuple[str | None, str | None, str]


class RegistryError(Exception):
    """The registry did not name a version.

    Attributes:
        public: What anybody may be told of it. The message may be the registry's or its client's,
            and is for those who read the log.
    """

    def __init__(self, message: str, public: str | None = None) -> None:
        super().__init__(message)
        self.public = public or message


class VersionMissing(RegistryError):
    """The registry answered that nothing holds the stage, alias or number, or the model is gone."""


class VersionPending(RegistryError):
    """The registry named a version whose registration is still under way."""


class RegistryUnreachable(RegistryError):
    """The registry gave no answer, or none that can be understood."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One concrete version of a model, as the registry described it at one moment.

    `load_uri` names exactly this version; loading it never asks for a stage or an alias again,
    which might by then mean another version.

    `refusal` says why it must not be loaded, where that is so; `refusal_details` are the
    registry's own words.
    """

    load_uri: str
    source: str
    version: str | None = None
    run_id: str | None = None
    model_id: str | None = None
    stage: str | None = None
    alias: str | None = None
    status: str | None = None
    refusal: str | None = None
    refusal_details: str | None = None

    @property
    def identity(self) -> Identity:
        """What must differ for a swap. Not "a higher number": a rollback is a change as well, and
        a model that was deleted and made anew starts again at version 1 with another run."""
        return (self.version, self.run_id, self.source)

    @property
    def label(self) -> str:
        """The name of this version in the `X-Model-Version` header: the version number where the
        registry has one, else the id of the logged model or of the run."""
        return self.version or self.model_id or self.run_id or "unversioned"

    @property
    def display(self) -> str:
        """The label as people write it: `v3` for version 3."""
        return f"v{self.version}" if self.version else self.label
