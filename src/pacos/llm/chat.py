"""Conversations: the chat template that turns messages into tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pacos.errors import UsageError
from pacos.formats.wording import shown
from pacos.types import Archive

if TYPE_CHECKING:
    from pacos.text.template import ChatTemplate
    from pacos.text.tokenizer import Tokenizer


def _file_text(name: str) -> str | None:
    """The text of a template file; None when there is no file of that name."""
    try:
        return Path(name).read_text(encoding="utf-8") if Path(name).is_file() else None
    except UnicodeDecodeError as error:
        problem = f"the chat template {shown(name)} is not UTF-8 text (byte {error.start})"
        raise UsageError(problem, hint="convert it first") from error
    except OSError as error:
        problem = f"the chat template {shown(name)} cannot be read: {error.strerror}"
        raise UsageError(problem, hint="give the name of a built-in template, or a readable file") from error


def open_template(archive: Archive, tokenizer: Tokenizer, name: str | None) -> ChatTemplate:
    """The model's own chat template, or the one of that name or file instead.

    Errors: TemplateError; UsageError for a name or file that is none.
    """
    from pacos.text.template import ChatTemplate

    text = None if name is None else _file_text(name)
    name = name if text is None else None
    bos, eos = (tokenizer.token_text(token) if token is not None else "" for token in (tokenizer.bos, tokenizer.eos))
    return ChatTemplate.from_metadata(
        archive.metadata,
        bos_token=bos,
        eos_token=eos,
        name=name,
        file_text=text,
        vocabulary=lambda spelling: tokenizer.find(spelling) is not None,
    )
