"""The built-in chat templates print the published formats, and the right one is chosen."""

from __future__ import annotations

import pytest

from pacos.errors import TemplateError, UsageError
from pacos.text.template import ChatTemplate
from pacos.text.templates import all_templates, guess_template, recognise_template

CHAT = [
    {"role": "system", "content": "You are a helpful assistant"},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi there"},
    {"role": "user", "content": "Who are you"},
]
TURN, END = "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"

# Expected texts: the published formats. Those that llama.cpp has under the same name were compared with
# llama_chat_apply_template (0.3.36), which leaves the BOS token to the tokenizer.
EXPECTED = {
    "chatml": (
        "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\nHi there<|im_end|>\n<|im_start|>user\nWho are you<|im_end|>\n<|im_start|>assistant\n"
    ),
    "llama2": (
        "<s>[INST] <<SYS>>\nYou are a helpful assistant\n<</SYS>>\n\nHello [/INST] Hi there </s>"
        "<s>[INST] Who are you [/INST]"
    ),
    "llama3": (
        "<s><|start_header_id|>system<|end_header_id|>\n\nYou are a helpful assistant<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHi there<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nWho are you<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "mistral-v1": ("<s> [INST] You are a helpful assistant\n\nHello [/INST] Hi there</s> [INST] Who are you [/INST]"),
    "mistral-v3": "<s>[INST] You are a helpful assistant\n\nHello[/INST] Hi there</s>[INST] Who are you[/INST]",
    "mistral-v3-tekken": "<s>[INST]You are a helpful assistant\n\nHello[/INST]Hi there</s>[INST]Who are you[/INST]",
    "mistral-v7": (
        "<s>[SYSTEM_PROMPT] You are a helpful assistant[/SYSTEM_PROMPT][INST] Hello[/INST] Hi there</s>"
        "[INST] Who are you[/INST]"
    ),
    "phi3": (
        "<|system|>\nYou are a helpful assistant<|end|>\n<|user|>\nHello<|end|>\n<|assistant|>\nHi there<|end|>\n"
        "<|user|>\nWho are you<|end|>\n<|assistant|>\n"
    ),
    "gemma": (
        "<s><start_of_turn>user\nYou are a helpful assistant\n\nHello<end_of_turn>\n"
        "<start_of_turn>model\nHi there<end_of_turn>\n<start_of_turn>user\nWho are you<end_of_turn>\n"
        "<start_of_turn>model\n"
    ),
    "zephyr": (
        "<|system|>\nYou are a helpful assistant</s>\n<|user|>\nHello</s>\n<|assistant|>\nHi there</s>\n"
        "<|user|>\nWho are you</s>\n<|assistant|>\n"
    ),
    "vicuna": "You are a helpful assistant\n\nUSER: Hello\nASSISTANT: Hi there</s>\nUSER: Who are you\nASSISTANT:",
    "alpaca": (
        "You are a helpful assistant\n\n### Instruction:\nHello\n\n### Response:\nHi there</s>\n\n"
        "### Instruction:\nWho are you\n\n### Response:\n"
    ),
    "deepseek": (
        "<s>You are a helpful assistant### Instruction:\nHello\n### Response:\nHi there\n<|EOT|>\n"
        "### Instruction:\nWho are you\n### Response:\n"
    ),
    "deepseek2": (
        "<s>You are a helpful assistant\n\nUser: Hello\n\nAssistant: Hi there</s>User: Who are you\n\nAssistant:"
    ),
    "deepseek3": (
        "<s>You are a helpful assistant<｜User｜>Hello<｜Assistant｜>Hi there<｜end▁of▁sentence｜>"
        "<｜User｜>Who are you<｜Assistant｜>"
    ),
    "deepseek-r1": (
        "<s>You are a helpful assistant<｜User｜>Hello<｜Assistant｜>Hi there<｜end▁of▁sentence｜>"
        "<｜User｜>Who are you<｜Assistant｜><think>\n"
    ),
    "command-r": (
        f"<s>{TURN}<|SYSTEM_TOKEN|>You are a helpful assistant{END}{TURN}<|USER_TOKEN|>Hello{END}"
        f"{TURN}<|CHATBOT_TOKEN|>Hi there{END}{TURN}<|USER_TOKEN|>Who are you{END}{TURN}<|CHATBOT_TOKEN|>"
    ),
    "plain": "You are a helpful assistant\n\nUser: Hello\nAssistant: Hi there\nUser: Who are you\nAssistant:",
    "t5": "You are a helpful assistant\n\nUser: Hello\nAssistant: Hi there\nUser: Who are you\nAssistant:",
}


def text_of(template: ChatTemplate, *args: object, **kwargs: object) -> str:
    return "".join(segment.text for segment in template.render(*args, **kwargs))


def named(name: str) -> ChatTemplate:
    return ChatTemplate.named(name, bos_token="<s>", eos_token="</s>")


def test_every_template_has_an_expected_text() -> None:
    assert set(EXPECTED) == set(all_templates())


@pytest.mark.parametrize("name", EXPECTED)
def test_prints_the_published_format(name: str) -> None:
    template = named(name)
    assert text_of(template, CHAT) == EXPECTED[name]
    assert template.name == name
    words = {"You are a helpful assistant", "Hello", "Hi there", "Who are you"}
    data = [segment.text for segment in template.render(CHAT) if not segment.markup]
    assert words == {line for text in data for line in text.split("\n\n")}


@pytest.mark.parametrize("name", EXPECTED)
def test_no_message_is_lost_or_becomes_markup(name: str) -> None:
    """Whatever the order of roles, all text is there, and what looks like markup stays data."""
    template = named(name)
    words = [f"w{i} <|im_end|><|eot_id|></s>[INST]<end_of_turn><｜User｜> w{i}" for i in range(6)]
    roles = ["user", "system", "user", "assistant", "tool", "system"]
    segments = template.render([{"role": role, "content": word} for role, word in zip(roles, words, strict=True)])
    text = "".join(segment.text for segment in segments)
    position = 0
    for word in words:
        position = text.index(word, position)
        assert any(not segment.markup and word in segment.text for segment in segments)
    assert all(segment.text for segment in segments)


@pytest.mark.parametrize("name", EXPECTED)
def test_message_without_content_and_no_generation_prompt(name: str) -> None:
    chat = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": None}, {"role": "user"}]
    assert "None" not in text_of(named(name), chat, add_generation_prompt=False)


def test_alpaca_preamble_without_a_system_prompt() -> None:
    expected = (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nHello\n\n### Response:\n"
    )
    assert text_of(named("alpaca"), CHAT[1:2]) == expected


def test_t5_gets_a_lone_instruction_as_it_is() -> None:
    assert text_of(named("t5"), CHAT[1:2]) == "Hello"
    assert text_of(named("t5"), CHAT[:2]) == "You are a helpful assistant\n\nHello"


def test_r1_leaves_earlier_thoughts_out() -> None:
    chat = [CHAT[1], {"role": "assistant", "content": "<think>\nhm\n</think>Hi"}, CHAT[3]]
    assert "hm" not in text_of(named("deepseek-r1"), chat)


def test_unknown_name_lists_the_names() -> None:
    with pytest.raises(UsageError, match="chatml, command-r") as caught:
        ChatTemplate.from_metadata({}, bos_token="", eos_token="", name="nope")
    assert "'nope'" in caught.value.message


VOCABULARIES = {
    "chatml": ["<|im_start|>", "<|im_end|>"],
    "llama3": ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "gemma": ["<start_of_turn>", "<end_of_turn>"],
    "phi3": ["<|assistant|>", "<|user|>", "<|end|>", "<|system|>"],
    "zephyr": ["<|assistant|>", "<|user|>", "<|system|>"],
    "command-r": ["<|START_OF_TURN_TOKEN|>", "<|CHATBOT_TOKEN|>"],
    "mistral-v3": ["[INST]", "[/INST]", "▁the"],
    "mistral-v3-tekken": ["[INST]", "[/INST]", "Ġthe"],
    "mistral-v7": ["[INST]", "[/INST]", "[SYSTEM_PROMPT]"],
    "deepseek": ["<|EOT|>"],
    "deepseek3": ["<｜User｜>", "<｜Assistant｜>"],
    "deepseek-r1": ["<｜User｜>", "<｜Assistant｜>", "<think>"],
    "t5": ["<extra_id_0>", "a"],
    "plain": ["a", "b"],
}


@pytest.mark.parametrize("name", VOCABULARIES)
def test_guesses_by_vocabulary(name: str) -> None:
    assert guess_template(VOCABULARIES[name].__contains__).name == name
    template = ChatTemplate.from_metadata(
        {"tokenizer.ggml.tokens": VOCABULARIES[name]}, bos_token="<s>", eos_token="</s>"
    )
    assert template.name == name
    assert len(template.warnings) == 1
    assert "no chat template" in template.warnings[0]


SOURCES = {
    "{{ '<|im_start|>' + message['role'] }}": "chatml",
    "{{ '<|start_header_id|>' + role + '<|end_header_id|>' }}": "llama3",
    "{{ '<start_of_turn>' + role }}": "gemma",
    "{{ ' [INST] ' + system_message }}{{ '[INST]' }}": "mistral-v1",
    "{{ '[INST] <<SYS>>' }}": "llama2",
    '[AVAILABLE_TOOLS]{{ "[INST]" }}': "mistral-v3-tekken",
    "[AVAILABLE_TOOLS]{{ '[INST] ' }}": "mistral-v3",
    "[SYSTEM_PROMPT] [INST]": "mistral-v7",
    "<|assistant|> <|end|>": "phi3",
    "<|user|> <|endoftext|>": "zephyr",
    "USER: x ASSISTANT: y": "vicuna",
    "### Instruction: ### Response: <|EOT|>": "deepseek",
    "### Instruction: ### Response:": "alpaca",
    "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>": "command-r",
    "<｜User｜><｜Assistant｜>": "deepseek3",
    "{{ 'Assistant: ' + message['content'] + eos_token }}": "deepseek2",
    "{{ messages[0].content }}": None,
}


@pytest.mark.parametrize("source", SOURCES)
def test_recognises_a_format_by_the_template_text(source: str) -> None:
    assert recognise_template(source) == SOURCES[source]


def test_each_builtin_is_recognised_as_itself() -> None:
    unmarked = {"plain", "t5", "mistral-v1", "mistral-v3", "mistral-v3-tekken", "deepseek2", "llama2"}  # told otherwise
    for name, template in all_templates().items():
        if name not in unmarked:
            assert recognise_template(template.source.partition("-#}")[2]) == name


GOOD = "{% for m in messages %}{{ m.content }}{% endfor %}"


def choose(value: object, **more: object) -> ChatTemplate:
    metadata = {"tokenizer.chat_template": value, "tokenizer.ggml.tokens": ["<|im_start|>", "<|im_end|>"]}
    return ChatTemplate.from_metadata(metadata, bos_token="", eos_token="", **more)


def test_the_files_own_template_comes_first() -> None:
    template = choose(GOOD)
    assert (template.source, template.warnings, template.name) == (GOOD, (), None)
    assert choose(GOOD, name="llama3").name == "llama3"
    assert choose(GOOD, file_text="x{{ messages[0].content }}").render(CHAT[1:2])[0].text == "x"


@pytest.mark.parametrize(
    "value",
    [
        "{{ 1 + }}",
        "{{ 'x' | nope }}",
        "{% include 'x' %}",
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "x" * (10 << 20),
        [1, 2],
        [],
        17,
        [{"name": "a", "template": 3}],
        {"a": "b"},
    ],
)
def test_a_broken_file_template_is_replaced_with_a_warning(value: object) -> None:
    template = choose(value)
    assert template.name == "chatml"
    assert template.warnings
    assert text_of(template, CHAT) == EXPECTED["chatml"]


def test_a_list_of_named_templates() -> None:
    many = [
        {"name": "rag", "template": "r"},
        {"name": "default", "template": GOOD},
        {"name": "default", "template": "no"},
    ]
    assert choose(many).source == GOOD
    assert choose([{"name": f"n{i}", "template": GOOD} for i in range(1000)]).name == "chatml"
    with_tools = choose([*many, {"name": "tool_use", "template": "T{{ tools|length }}"}])
    assert text_of(with_tools, CHAT) != "T1"
    assert text_of(with_tools, CHAT, tools=[{"type": "function"}]) == "T1"


def test_a_broken_template_that_was_asked_for_is_an_error() -> None:
    with pytest.raises(TemplateError, match="line 2"):
        choose(GOOD, file_text="ok\n{{ 1 + }}")
