"""Conversations as the text that a checkpoint was trained on, by the template that comes with it.

Templates are Jinja programs of strangers: they run in Jinja's sandbox, see the messages and nothing else, and
what goes wrong in them is one line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sensorium import settings as environment_settings
from sensorium.errors import CheckpointError
from sensorium.media.vocabulary import read_object, special_word

Role = Literal["system", "user", "assistant"]
Shown = Literal["image", "video"]
"""A place in a message where a picture or a film is shown; which one, its reader knows by the order."""

_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")
_MARK = "9d1f"  # a word that no template has by itself


@dataclass(frozen=True)
class Text:
    """Words of a message."""

    text: str


Part = Text | Shown


@dataclass(frozen=True)
class Message:
    """What one side says: words, pictures and films in order."""

    role: Role
    parts: tuple[Part, ...]

    @classmethod
    def says(cls, role: Role, text: str) -> Message:
        """Words alone."""
        return cls(role, (Text(text),))


class _Generation(Extension):
    """``{% generation %}`` marks what an assistant said, for training; here it only encloses it."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The statements between the tag and its end, as they are."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """A checkpoint's template, compiled."""

    def __init__(self, source: str, tokens: Mapping[str, str]) -> None:
        """Compile ``source``; ``tokens`` are special tokens it may name, as ``bos_token``.

        Raises:
            CheckpointError: It is no template.
        """
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        environment.filters["tojson"] = _as_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: environment_settings.now().strftime(form)
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise CheckpointError(f"the chat template is none: {_line(error)}") from None
        self._tokens = dict(tokens)
        self._in_parts = self._needs_parts()

    @classmethod
    def from_folder(cls, folder: Path) -> ChatTemplate:
        """The template of a checkpoint: a file of its own, or a field of its tokenizer's.

        Raises:
            CheckpointError: There is none, or it cannot be read.
        """
        settings = read_object(folder / "tokenizer_config.json")
        tokens = {name: special_word(settings.get(name)) for name in _SPECIAL}
        own = folder / "chat_template.jinja"
        if own.is_file():
            source: Any = own.read_text("utf-8")
        else:
            source = read_object(folder / "chat_template.json").get("chat_template")
            source = settings.get("chat_template") if source is None else source
        if isinstance(source, list):  # several under names
            named = {one.get("name"): one.get("template") for one in source if isinstance(one, dict)}
            source = named.get("default")
        if not isinstance(source, str):
            raise CheckpointError(f"{folder} has no chat template: put chat_template.jinja there")
        return cls(source, {name: word for name, word in tokens.items() if word is not None})

    def render(self, messages: Sequence[Message], *, answering: bool = True, **extra: Any) -> str:
        """The conversation as one text, special tokens included.

        Args:
            messages: What was said, in order.
            answering: End with what introduces the next answer.
            extra: What a template knows besides, such as ``tools``.

        Raises:
            CheckpointError: The template refuses the conversation, with its reason.
        """
        shown = any(not isinstance(part, Text) for message in messages for part in message.parts)
        try:
            return self._rendered(messages, self._in_parts or shown, answering, extra)
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
            raise CheckpointError(f"the chat template refuses the conversation: {_line(error)}") from None

    def _rendered(
        self, messages: Sequence[Message], in_parts: bool, answering: bool, extra: Mapping[str, Any]
    ) -> str:
        written = [_written(message, in_parts) for message in messages]
        absent = {"tools": None, "documents": None}  # templates ask for them by name
        known = {**self._tokens, **absent, **extra, "messages": written, "add_generation_prompt": answering}
        return self._template.render(**known)

    def _needs_parts(self) -> bool:
        """Whether it takes words only as parts of a message, as those of models that see often do."""
        try:
            return _MARK not in self._rendered([Message.says("user", _MARK)], False, False, {})
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError, ArithmeticError):
            return True


def _written(message: Message, in_parts: bool) -> dict[str, Any]:
    if not in_parts:
        said = "".join(part.text for part in message.parts if isinstance(part, Text))
        return {"role": message.role, "content": said}
    parts = [
        {"type": "text", "text": part.text} if isinstance(part, Text) else {"type": part}
        for part in message.parts
    ]
    return {"role": message.role, "content": parts}


def _as_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
    """Jinja's own filter escapes for HTML, which no template of a model means."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **more)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
