"""Chat templates: what transformers renders, and what strangers' programs may not do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from sensorium.errors import CheckpointError
from sensorium.media.chat import ChatTemplate, Message, Text

TURNS = """
{%- for message in messages %}
    {%- if loop.first and message.role != 'system' %}
        {{- '<|start|>system\\nBe brief.<|end|>\\n' }}
    {%- endif %}
    {{- '<|start|>' + message.role + '\\n' + message['content'] + '<|end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant\\n' }}
{%- endif %}
"""
BRACKETS = """{{ bos_token }}{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('turns must alternate') }}
{% endif %}
{% if message['role'] == 'user' %}
{{ '[Q] ' + message['content'] | trim + ' [/Q]' }}
{% else %}
{% generation %}{{ ' ' + message['content'] + eos_token }}{% endgeneration %}
{% endif %}
{% endfor %}"""
SEEING = """{% for message in messages %}{{ message.role | upper }}: {% for part in message.content %}
{% if part.type == 'image' %}{{ '<image>\\n' }}{% elif part.type == 'video' %}{{ '<video>\\n' }}
{% else %}{{ part.text }}{% endif %}{% endfor %}{{ ' ' }}{% endfor %}
{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"""
EITHER = """{% for message in messages %}{% if message.content is string %}{{ message.content }}
{% else %}{% for part in message.content %}{% if part.type == 'image' %}{{ '<|see|>' }}
{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}{{ ';' }}{% endfor %}
{{ tools | tojson if tools is defined else '' }}"""
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
TALK = [
    Message.says("user", "  How many cups? 几个杯子？ <b>"),
    Message.says("assistant", "Two."),
    Message.says("user", "Sure?"),
]
SHOWN = [
    Message("user", (Text("What is this"), "image", Text("?"))),
    Message.says("assistant", "A cup."),
    Message("user", ("video", Text("and this?"))),
]


def theirs(source: str, messages: list[Message], *, in_parts: bool, answering: bool, **extra: Any) -> str:
    def written(message: Message) -> dict[str, Any]:
        if not in_parts:
            return {
                "role": message.role,
                "content": "".join(p.text for p in message.parts if isinstance(p, Text)),
            }
        parts = [
            {"type": "text", "text": p.text} if isinstance(p, Text) else {"type": p} for p in message.parts
        ]
        return {"role": message.role, "content": parts}

    rendered, _ = render_jinja_template(
        [[written(message) for message in messages]],
        chat_template=source,
        add_generation_prompt=answering,
        **TOKENS,
        **extra,
    )
    return str(rendered[0])


@pytest.mark.parametrize("answering", [True, False])
@pytest.mark.parametrize(
    ("source", "messages", "in_parts"),
    [
        (TURNS, TALK, False),
        (BRACKETS, TALK, False),
        (SEEING, SHOWN, True),
        (SEEING, TALK, True),
        (EITHER, TALK, False),
        (EITHER, SHOWN, True),
    ],
)
def test_conversations_are_written_as_the_reference_writes_them(
    source: str, messages: list[Message], in_parts: bool, answering: bool
) -> None:
    ours = ChatTemplate(source, TOKENS).render(messages, answering=answering)
    assert ours == theirs(source, messages, in_parts=in_parts, answering=answering)
    assert "Two." in ours or "A cup." in ours


def test_what_a_template_knows_besides_is_handed_on_without_escapes() -> None:
    tools = [{"name": "look", "note": "<&> 看"}]
    ours = ChatTemplate(EITHER, {}).render(TALK, tools=tools)
    assert ours == theirs(EITHER, TALK, in_parts=False, answering=True, tools=tools)
    assert "<&> 看" in ours


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{% for %}", "is none"),
        ("{{ messages.append(1) }}", "refuses"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "refuses"),
        ("{{ raise_exception('no systems here') }}", "no systems here"),
        ("{{ messages[0].content + 1 }}", "refuses"),
        ("{{ 1 // 0 }}", "refuses"),
        ("{{ nothing.at.all }}", "refuses"),
        ("{% include 'passwd' %}", "refuses"),
    ],
)
def test_templates_that_misbehave_are_one_line(source: str, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason) as caught:
        ChatTemplate(source, {}).render(TALK)
    assert "\n" not in str(caught.value)


def test_a_refusal_of_the_template_is_told() -> None:
    with pytest.raises(CheckpointError, match="turns must alternate"):
        ChatTemplate(BRACKETS, TOKENS).render([*TALK, Message.says("user", "Hello?")])


def test_time_is_the_fixed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_NOW", "2026-05-01T12:00:00+08:00")
    assert ChatTemplate("{{ strftime_now('%d %B %Y') }}", {}).render([]) == "01 May 2026"


def test_templates_are_found_where_checkpoints_put_them(tmp_path: Path) -> None:
    settings = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": "{{ bos_token }}field"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    assert ChatTemplate.from_folder(tmp_path).render([]) == "<s>field"
    (tmp_path / "chat_template.json").write_text(
        json.dumps({"chat_template": "json{{ eos_token }}"}), "utf-8"
    )
    assert ChatTemplate.from_folder(tmp_path).render([]) == "json</s>"
    (tmp_path / "chat_template.jinja").write_text("own", "utf-8")
    assert ChatTemplate.from_folder(tmp_path).render([]) == "own"


def test_of_several_the_default_is_taken_and_none_is_told(tmp_path: Path) -> None:
    several = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}), "utf-8")
    assert ChatTemplate.from_folder(tmp_path).render([]) == "plain"
    (tmp_path / "tokenizer_config.json").write_text("{}", "utf-8")
    with pytest.raises(CheckpointError, match="no chat template"):
        ChatTemplate.from_folder(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{", "utf-8")
    with pytest.raises(CheckpointError, match="not JSON"):
        ChatTemplate.from_folder(tmp_path)
