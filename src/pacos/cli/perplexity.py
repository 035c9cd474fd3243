"""`pacos perplexity`: how well a model predicts a text, or solves tasks, measured as llama.cpp does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render
from pacos.cli.options import groups_from, only_these, read_text_option, with_options
from pacos.cli.other_flags import TakesOthers
from pacos.errors import UsageError
from pacos.settings import LoadOptions, options_of

if TYPE_CHECKING:
    from pacos.cli.perplexity_table import Compared
    from pacos.llm import LLM

DEFAULT_CONTEXT_TOKENS = 512
_WINDOW_STEP = 256  # tokens: windows are a multiple of it, as llama.cpp's are
_TASK_BYTES_MAX = 1 << 30
_KINDS = ("hellaswag", "winogrande", "multiple_choice")
_COUNT = click.IntRange(min=0)


def _task_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Two options for each kind of tasks: to choose it, and how many to solve."""
    texts = {
        "hellaswag": "six lines a task: context, number of the right ending (0 to 3), four endings",
        "winogrande": "lines of number,sentence with _,choice,choice,1 or 2",
        "multiple-choice": "llama.cpp's binary form",
    }
    for name, text in reversed(texts.items()):
        default = 400 if name == "hellaswag" else 0
        many = f"Tasks to solve; 0 is all.  [default: {default}]"
        count = click.option(f"--{name}-tasks", type=_COUNT, default=default, metavar="N", help=many)
        function = click.option(f"--{name}", is_flag=True, help=f"FILE holds tasks: {text}.")(count(function))
    return function


@click.command(cls=TakesOthers)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("-f", "--file", metavar="FILE", help="The text, or the tasks; - is standard input.")
@click.option("--chunks", type=click.IntRange(min=-1), default=-1, metavar="N", help="Chunks to score; -1 is all.")
@click.option(
    "--ppl-stride",
    type=_COUNT,
    default=0,
    metavar="N",
    help="Slide a window by so many tokens, in place of chunks; 0 does not.",
)
@click.option(
    "--kl-divergence-base",
    "base",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write what the model says of the text into FILE; with --kl-divergence, compare with what is there.",
)
@click.option("--kl-divergence", is_flag=True, help="Compare with --kl-divergence-base; its text is used.")
@_task_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw perplexity and divergence against size."
)
@click.option("--force", is_flag=True, help="Replace the file of --kl-divergence-base when it is there.")
@with_options(LoadOptions)
def command(models: tuple[str, ...], **given: Any) -> None:
    """Measure the perplexity of a text.

    The text is cut into chunks of the context's size (-c, 512 by default), each starting with BOS where the model has
    one; the second half of each chunk is scored, so the figures compare with llama.cpp's.

    Of several models the first is the base, with which the others (its quantizations) are compared: Kullback-Leibler
    divergence of their predictions, how often the likeliest token is the same, and how the probability of the token
    that came has changed. --hellaswag, --winogrande and --multiple-choice score tasks.

    Example:  pacos perplexity model-f16.gguf model-q4.gguf model-q2.gguf -f text.txt --plot sizes.png
    """
    (options,) = groups_from((LoadOptions,), {one.name: given.pop(one.name) for one in options_of(LoadOptions)})
    given["options"] = replace(options, ctx_size=options.ctx_size or DEFAULT_CONTEXT_TOKENS, parallel=1)
    kinds = [kind for kind in _KINDS if given[kind]]
    if len(kinds) > 1:
        raise UsageError(f"--{kinds[0]} and --{kinds[1].replace('_', '-')} exclude each other", hint="give one of them")
    if given["chunks"] == 0:
        raise UsageError("--chunks is 0", hint="use 1 or more, or -1 for all")
    load_flags = {one.name for one in options_of(LoadOptions)} | {"models", "file", "as_json"}
    if given["file"] is None and not given["kl_divergence"]:
        raise UsageError("there is no text", hint="give --file FILE, or - for standard input")
    if kinds:
        only_these({*load_flags, kinds[0], f"{kinds[0]}_tasks"}, f"with --{kinds[0].replace('_', '-')}")
        _solve(models, kinds[0], given)
    elif given["kl_divergence"]:
        only_these(load_flags - {"file"} | {"kl_divergence", "base", "plot"}, "with --kl-divergence")
        _compare(models, given)
    elif len(models) > 1:
        only_these(load_flags | {"chunks", "base", "plot", "force"}, "with several models")
        _measure(models, given)
    else:
        allowed = load_flags | ({"ppl_stride", "chunks"} if given["ppl_stride"] else {"chunks", "base", "force"})
        only_these(allowed, "with --ppl-stride" if given["ppl_stride"] else "for one model")
        _score(models[0], given)


@contextmanager
def _opened(model: str, given: dict[str, Any], context: int = 0) -> Iterator[LLM]:
    from pacos.llm import load

    options = given["options"]
    with load(model, options=replace(options, ctx_size=context) if context else options) as llm:
        yield llm


def perplexity_of(scores: list[float]) -> tuple[float, float]:
    """The perplexity that log-probabilities make, and its standard error."""
    mean = -sum(scores) / len(scores)
    variance = sum((score + mean) ** 2 for score in scores) / max(1, len(scores) - 1)
    perplexity = math.exp(mean) if mean < 700 else math.inf
    return perplexity, perplexity * math.sqrt(variance / len(scores)) if math.isfinite(perplexity) else math.inf


def _score(model: str, given: dict[str, Any]) -> None:
    """One model alone."""
    from pacos.llm import perplexity

    size, stride, base = given["options"].ctx_size, given["ppl_stride"], given["base"]
    if base is not None:
        _check_base(base, given["force"])
    text = read_text_option(given["file"], "--file")
    window = -(-(size + stride // 2) // _WINDOW_STEP) * _WINDOW_STEP if stride else size
    with _opened(model, given, window) as llm:
        tokens = llm.tokenize(text)
        if stride:
            count = perplexity.window_count(len(tokens), window, stride)
            count = count if given["chunks"] < 0 else min(count, given["chunks"])
            with render.progress("scoring", count) as done:
                scores = perplexity.window_scores(llm, tokens, window, stride, count, done)
        else:
            chunks = perplexity.chunks_of(llm, tokens, size, given["chunks"])
            count = len(chunks)
            with render.progress("scoring", count) as done:
                if base is None:
                    scores = perplexity.chunk_scores(llm, chunks, done)
                else:
                    scores = perplexity.save_base(llm, base, chunks, done)
    _print(scores, window, count, given["as_json"])


def _print(scores: list[float], size: int, chunks: int, as_json: bool) -> None:
    perplexity, error = perplexity_of(scores)
    mean = -sum(scores) / len(scores)
    if as_json:
        found = {"perplexity": perplexity, "error": error, "mean_nll": mean, "tokens_scored": len(scores)}
        render.as_json({**found, "chunks": chunks, "ctx_size": size})
    else:
        click.echo(f"perplexity {perplexity:.4f} +/- {error:.4f} ({len(scores)} tokens in {chunks} chunks of {size})")


def _check_base(base: Path, force: bool) -> None:
    from pacos.cli.convert import check_output
    from pacos.lazy import need_numpy

    need_numpy("--kl-divergence-base")
    check_output(base, force)


def _compare(models: tuple[str, ...], given: dict[str, Any]) -> None:
    """Models with what another has said before."""
    if given["base"] is None:
        raise UsageError("--kl-divergence needs --kl-divergence-base FILE", hint="write it with the base model first")
    _check_plot(given["plot"])
    _report([_compared(model, given["base"], given) for model in models], given)


def _compared(model: str, base: Path, given: dict[str, Any]) -> Compared:
    from pacos.cli.perplexity_table import Compared
    from pacos.formats.logits import LogitsFile
    from pacos.lazy import need_numpy
    from pacos.llm import perplexity

    need_numpy("comparing models")
    with LogitsFile(base) as said, _opened(model, given, said.chunk_tokens) as llm:
        with render.progress(f"comparing {llm.path.name}", said.count) as done:
            found = perplexity.compare(llm, said, done)
        return Compared.of(llm, found)


def _measure(models: tuple[str, ...], given: dict[str, Any]) -> None:
    """The first model, then the others against it."""
    import tempfile

    from pacos.cli.perplexity_table import Compared
    from pacos.llm import perplexity

    _check_plot(given["plot"])
    if given["base"] is not None:
        _check_base(given["base"], given["force"])
    text = read_text_option(given["file"], "--file")
    with tempfile.TemporaryDirectory(prefix="pacos-") as folder:
        base = given["base"] or Path(folder) / "base"
        with _opened(models[0], given) as llm:
            chunks = perplexity.chunks_of(llm, llm.tokenize(text), given["options"].ctx_size, given["chunks"])
            with render.progress(f"scoring {llm.path.name}", len(chunks)) as done:
                scores = perplexity.save_base(llm, base, chunks, done)
            first = Compared.of(llm, None, perplexity_of(scores), len(scores))
        _report([first, *(_compared(model, base, given) for model in models[1:])], given)


def _check_plot(path: Path | None) -> None:
    if path is not None:
        from pacos.cli.bench_plot import check_plot

        check_plot(path)


def _report(found: list[Compared], given: dict[str, Any]) -> None:
    from pacos.cli.perplexity_table import print_compared

    if given["as_json"]:
        render.as_json({"models": [one.data() for one in found]})
    else:
        print_compared(found)
    if given["plot"] is not None:
        from pacos.cli.perplexity_plot import plot

        plot(given["plot"], found)


def _solve(models: tuple[str, ...], kind: str, given: dict[str, Any]) -> None:
    """Tasks, by each model."""
    from pacos.llm.tasks import Tally, read_tasks, solve

    tasks = read_tasks(kind.replace("_", "-"), _task_bytes(given["file"]), given[f"{kind}_tasks"])
    rows: list[tuple[str, Tally]] = []
    for model in models:
        with _opened(model, given) as llm, render.progress("solving", len(tasks)) as done:
            rows.append((llm.path.name, solve(llm, tasks, lambda tally, done=done: done(tally.done))))  # type: ignore[misc]
    if given["as_json"]:
        found = [
            {
                **{"model": name, "tasks": one.done, "solved": one.solved, "accuracy": one.accuracy},
                **{"error": one.error, "interval_95": list(one.interval()), "chance": one.chance},
            }
            for name, one in rows
        ]
        render.as_json({"kind": kind.replace("_", "-"), "models": found})
        return
    heads = ("model", "tasks", "solved", "accuracy", "95% within", "chance")
    cells = []
    for name, one in rows:
        low, high = one.interval()
        shares = (f"{100 * one.accuracy:.4f}%", f"{100 * low:.2f}%-{100 * high:.2f}%", f"{100 * one.chance:.2f}%")
        cells.append((render.printable(name), one.done, one.solved, *shares))
    render.table(heads, cells)


def _task_bytes(path: str) -> bytes:
    try:
        with click.open_file(path, "rb") as file:
            data: bytes = file.read(_TASK_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"--file {path}: {error.strerror}", hint="give a readable file, or - for stdin") from error
    if len(data) > _TASK_BYTES_MAX:
        raise UsageError(f"--file {path}: more than {_TASK_BYTES_MAX >> 20} MiB of tasks", hint="give a smaller file")
    return data
