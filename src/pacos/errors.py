"""Every error that Pacos raises on purpose, each with its exit code, HTTP status and a hint.

PacosError                 exit 1   500
├── UsageError             exit 2   400   an option or argument that cannot be used
│   └── ContextFull        exit 2   400   the prompt does not fit the context
├── ModelError             exit 3   422   the model file cannot be used
│   ├── ModelNotFound      exit 3   404   no such file or name
│   ├── FormatError        exit 3   422   the file is damaged or not what it says
│   ├── UnsupportedModel   exit 3   422   an architecture, type or tokenizer that Pacos lacks
│   └── TemplateError      exit 3   400   the chat template failed or was refused
├── DownloadError          exit 5   502   another machine refused, failed or sent something else
├── CapacityError          exit 4   503   not enough memory, disk or queue places
├── ShapeError             exit 70  500   a tensor of the wrong shape reached an op
├── NativeError            exit 70  500   the native library is missing, wrong or failed
├── NumericalError         exit 1   500   logits that no token can be chosen from
│   └── NoTokenLeft        exit 1   400   a constraint or biases that leave no token
└── Cancelled              exit 130 499   stopped by the user
"""

from __future__ import annotations


class PacosError(Exception):
    """Say what is wrong, the value seen, the value needed; `hint` says what to do next."""

    exit_code = 1
    http_status = 500

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(PacosError):
    """An option or argument cannot be used."""

    exit_code = 2
    http_status = 400


class ContextFull(UsageError):
    """The prompt and the tokens asked for do not fit the context."""


class ModelError(PacosError):
    """A model file cannot be used."""

    exit_code = 3
    http_status = 422


class ModelNotFound(ModelError):
    """No file, folder or name leads to a model."""

    http_status = 404


class FormatError(ModelError):
    """A file is damaged or not what it says it is."""


class UnsupportedModel(ModelError):
    """The file is sound, but holds an architecture, type or tokenizer that Pacos lacks."""


class TemplateError(ModelError):
    """A chat template failed, ran out of its budget or was refused."""

    http_status = 400


class DownloadError(PacosError):
    """Another machine cannot be reached, refuses, fails, or sends what it did not promise."""

    exit_code = 5
    http_status = 502


class CapacityError(PacosError):
    """There is not enough memory, disk or queue room."""

    exit_code = 4
    http_status = 503


class ShapeError(PacosError):
    """A tensor of the wrong shape or type reached an op."""

    exit_code = 70


class NativeError(PacosError):
    """The native library is missing, of another version, or failed."""

    exit_code = 70


class NumericalError(PacosError):
    """A sequence's logits cannot be sampled: one is not finite, or every token is banned."""


class NoTokenLeft(NumericalError):
    """A constraint cannot be met or followed from here, or it and the biases leave no token."""

    http_status = 400


class Cancelled(PacosError):
    """Stopped by the user."""

    exit_code = 130
    http_status = 499
