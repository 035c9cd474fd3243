"""`pacos run` and `pacos chat`: prompts from everywhere, options and their precedence, JSON, conversations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import STORYTELLER, Outcome, here
from shared_files import shared

GREEDY = ("--temp", "0", "-n", "12")


def answer(*arguments: object, **given: str) -> Outcome:
    done = here("run", *arguments, **given)
    assert done.code == 0, done.err
    return done


def test_the_same_seed_tells_the_same_story() -> None:
    first, again, other = (answer("-p", "A dragon.", "--seed", seed, "-n", "30") for seed in (1, 1, 2))
    assert first.out == again.out
    assert first.out != other.out
    assert len(first.out) > 40
    assert first.err == ""


def test_a_prompt_from_everywhere_is_the_same_prompt(tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("Tell me about a fox.")
    expected = answer("-p", "Tell me about a fox.", *GREEDY).out
    assert answer("Tell me about a fox.", *GREEDY).out == expected
    assert answer("storyteller", "Tell me about a fox.", *GREEDY).out == expected
    assert answer("-m", "storyteller", "Tell me about a fox.", *GREEDY).out == expected
    assert answer(STORYTELLER, "-f", file, *GREEDY).out == expected
    assert answer(*GREEDY, stdin="Tell me about a fox.\n").out == expected
    assert answer("-p", "-", *GREEDY, stdin="Tell me about a fox.\n").out == expected
    assert answer("-f", "-", *GREEDY, stdin="Tell me about a fox.").out == expected
    assert answer("-p", "Another.", *GREEDY, stdin="Tell me about a fox.").out != ""


def test_without_a_prompt_the_storyteller_has_one() -> None:
    assert answer(*GREEDY).out == answer("-p", "Tell me a story.", *GREEDY).out


def test_json_is_one_object_with_the_whole_sequence() -> None:
    text = answer("-p", "A cat.", *GREEDY).out
    found = answer("-p", "A cat.", *GREEDY, "--json", "--seed", "7").data
    assert found["text"] == text
    assert found["finish_reason"] == "length"
    assert len(found["token_ids"]) == found["prompt_tokens"] + 12
    assert found["timings"]["generated_tokens"] == 12
    assert found["context"]["policy"] == "error"
    assert found["seed"] == 7
    assert found["stop_string"] is None
    assert found["model"] == str(STORYTELLER)


def test_json_tells_the_seed_that_was_drawn() -> None:
    found = answer("-p", "A cat.", "-n", "20", "--json").data
    again = answer("-p", "A cat.", "-n", "20", "--json", "--seed", found["seed"]).data
    assert again["token_ids"] == found["token_ids"]


def test_raw_continues_the_text_itself() -> None:
    found = answer("--raw", "-p", "Once upon a time", *GREEDY, "--json").data
    assert found["prompt_tokens"] == 4
    assert found["text"].startswith((",", " there"))
    special = answer("--raw", "-p", "<|im_start|>", *GREEDY, "--json").data
    parsed = answer("--raw", "--parse-special", "-p", "<|im_start|>", *GREEDY, "--json").data
    assert parsed["prompt_tokens"] == 1 < special["prompt_tokens"]


def test_the_system_message_is_part_of_the_prompt() -> None:
    plain, with_system = (answer("-p", "Hi", *more, *GREEDY, "--json").data for more in ((), ("--system", "Be kind.")))
    assert with_system["prompt_tokens"] > plain["prompt_tokens"]


def test_chat_templates_by_name_and_file(tmp_path: Path) -> None:
    own = answer("-p", "Hi", *GREEDY, "--json").data["token_ids"]
    named = answer("-p", "Hi", *GREEDY, "--json", "--chat-template", "chatml").data["token_ids"]
    other = answer("-p", "Hi", *GREEDY, "--json", "--chat-template", "vicuna").data["token_ids"]
    file = tmp_path / "own.jinja"
    file.write_text("{{ messages[0]['content'] }}")
    bare = answer("-p", "Hi", *GREEDY, "--json", "--chat-template", file).data
    assert own == named != other
    assert bare["prompt_tokens"] == len(here("tokenize", "storyteller", "Hi").out.split())


def test_variables_for_the_chat_template(tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text("{{ start }} {{ messages[0]['content'] }}")
    given = ("run", "-p", "a time", "--jinja", "--chat-template-file", file, "--chat-template-kwargs")
    done = here(*given, '{"start": "Once upon"}', "--dump-prompt-tokens")
    assert done.out.splitlines()[0] == f"[{', '.join(here('tokenize', 'storyteller', 'Once upon a time').out.split())}]"
    for text in ("[1]", "{", "5"):
        assert here(*given, text).err.startswith(f"error: --chat-template-kwargs is {text!r}; give a JSON object")
    for name in ("messages", "tools"):
        assert (
            f"error: --chat-template-kwargs: '{name}' cannot be a template option"
            in here(*given, f'{{"{name}": []}}').err
        )
    for text in ('{"a": NaN}', '{"a": [-Infinity]}', '{"a": 1e999}'):
        assert "is no number of JSON; use a finite one, or null" in here(*given, text).err
    refused = here(*given, '{"b": {"a": 1, "a": 2}}')
    assert (refused.code, refused.err) == (2, "error: --chat-template-kwargs: 'a' is there twice; drop one of them\n")
    assert "have no effect with --raw" in here("run", "--raw", "-p", "x", "--chat-template-kwargs", "{}").err


def test_a_stop_string_ends_the_answer_and_is_not_shown() -> None:
    whole = answer("--temp", "0", "-n", "40", "-p", "A cat.").out
    word = whole.split()[5]
    found = answer("--temp", "0", "-n", "40", "-p", "A cat.", "--stop", word, "--stop", "nothing", "--json").data
    assert found["text"] == whole[: whole.index(word)]
    assert (found["finish_reason"], found["stop_string"]) == ("stop", word)


def test_no_tokens_are_a_fine_number() -> None:
    found = answer("-p", "A cat.", "-n", "0", "--json").data
    assert (found["text"], found["finish_reason"]) == ("", "length")


def test_a_flag_wins_over_its_variable() -> None:
    two = answer("-p", "A cat.", "--temp", "0", "--json", PACOS_N_PREDICT="2").data
    three = answer("-p", "A cat.", "--temp", "0", "-n", "3", "--json", PACOS_N_PREDICT="2").data
    assert (two["timings"]["generated_tokens"], three["timings"]["generated_tokens"]) == (2, 3)
    greedy = answer("-p", "A cat.", "-n", "20", PACOS_TEMP="0").out
    assert greedy == answer("-p", "A cat.", "-n", "20", "--temp", "0").out


def test_a_misspelt_variable_is_told() -> None:
    done = answer("-n", "1", PACOS_TEMPERATUR="0")
    assert done.err == "warning: unknown variable PACOS_TEMPERATUR: did you mean PACOS_TEMPERATURE?\n" or (
        done.err == "warning: unknown variable PACOS_TEMPERATUR: did you mean PACOS_TEMP?\n"
    )


def test_timings_are_printed_when_asked_for() -> None:
    done = answer("-n", "3", "--timings")
    assert "generated 3 tokens" in done.err
    assert "tokens/s" not in done.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--frob",), "no such option"),
        (("-n",), "requires an argument"),
        (("-n", "many"), "--n-predict is 'many'; use a whole number"),
        (("--temp", "-1"), "--temp is -1"),
        (("--temp", "nan"), "--temp is nan"),
        (("--top-p", "1.5"), "--top-p is 1.5"),
        (("--seed", "x"), "--seed is 'x'"),
        (("--samplers", "top_k;magic"), "unknown sampler 'magic'"),
        (("--logit-bias", "5"), "--logit-bias is '5'; use TOKEN+BIAS"),
        (("--stop", ""), "--stop has the entry ''"),
        (("--cache-type-k", "q9"), "use one of auto, f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0, iq4_nl"),
        (("--cache-type-v", "IQ4_XS"), "--cache-type-v is 'iq4_xs'"),
        (("--backend", "abacus"), "abacus"),
        (("--chat-template", "nosuch"), "no chat template named 'nosuch'"),
        (("-m", "storyteller", "b", "-p", "a"), "given more than once"),
        (("-m", "a", "b", "c"), "the model is given twice"),
        (("-f", "no-such-file.txt"), "No such file"),
        (("--raw", "--system", "x", "-p", "y"), "drop --raw"),
        (("--parse-special", "-p", "y"), "needs --raw"),
        (("-p", "word " * 3000), "do not fit a context of 1024"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_told_in_one_line(arguments: tuple[str, ...], words: str) -> None:
    done = here("run", *arguments)
    assert done.code == 2
    assert done.out == ""
    assert words.lower() in done.err.lower()
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1


def test_a_lone_word_is_taken_for_a_model() -> None:
    done = here("run", "Hello")
    assert (done.code, done.out) == (3, "")
    assert "a prompt of one word needs -p" in done.err


def test_a_wrong_variable_is_told() -> None:
    done = here("run", "-n", "1", PACOS_TOP_K="many")
    assert (done.code, done.err) == (2, "error: variable PACOS_TOP_K: top_k is 'many'; use a whole number\n")


def test_the_golden_story_of_a_small_model() -> None:
    model, golden = shared("models/stories260K.gguf"), json.loads(shared("golden/stories.json").read_text())
    found = answer(model, "--temp", "0", "-n", "200", "--raw", "--json").data
    assert found["token_ids"] == golden["stories260K"]["greedy_ids"]
    found = answer(
        shared("models/TinyStories-656K-hf"), "--temp", "0", "-n", "20", "--raw", "--json", "-p", "Once"
    ).data
    assert len(found["token_ids"]) == found["prompt_tokens"] + 20


def test_a_prompt_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "prompt.bin"
    file.write_bytes(b"ab\xff")
    assert "not UTF-8 text (byte 2)" in here("run", "-f", file).err
    assert here("run", stdin=b"\xff").code == 2


def test_a_conversation_remembers(tmp_path: Path) -> None:
    template = tmp_path / "bare.jinja"
    template.write_text("{% for m in messages %}{{ m['content'] }} {% endfor %}")
    bare = ("--temp", "0", "-n", "8", "--chat-template", template)
    first = answer("-p", "The cat saw a dog", *bare).out
    whole = f"The cat saw a dog {first} It was a"  # what the template makes of question, answer, question
    second = answer("-p", whole, *bare).out
    alone = answer("-p", "It was a", *bare).out
    assert second != alone
    lines = "The cat saw a dog\nIt was a\n"
    done = here("chat", *bare, stdin=lines)
    assert (done.out, done.err, done.code) == (f"{first}\n{second}\n", "", 0)
    assert here("chat", *bare, stdin=lines.replace("\n", "\n/clear\n", 1)).out == f"{first}\n{alone}\n"
    assert here("chat", *bare, "--system", "The cat saw a dog", stdin="It was a\n").out != f"{alone}\n"


def test_chat_commands() -> None:
    done = here("chat", "-n", "2", "--temp", "0", stdin="/help\n\n   \n/frob\nHi\n/exit\nnever\n")
    assert done.code == 0
    assert len(done.out.strip().split("\n")) == 1
    assert "no command '/frob'" in done.err


def test_a_question_too_long_for_the_context_is_not_the_end() -> None:
    done = here("chat", "-n", "3", "--temp", "0", stdin="word " * 3000 + "\nHi\n")
    assert done.code == 0
    assert "do not fit a context of 1024" in done.err
    assert "/clear" in done.err
    assert done.out == here("chat", "-n", "3", "--temp", "0", stdin="Hi\n").out


def test_bytes_that_are_no_text_do_not_end_a_conversation() -> None:
    assert here("chat", "-n", "3", stdin=b"a \xff b\nHi\n").out.count("\n") == 2


def test_a_text_that_cannot_be_kept_is_refused_before_it_is_made(tmp_path: Path) -> None:
    done = here("run", "-p", "Once", "--save-session", tmp_path / "none" / "x")
    assert (done.code, done.out) == (2, "")
    assert "there is no folder" in done.err
