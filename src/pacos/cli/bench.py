"""`pacos bench`: how fast a model computes here, and how near that is to the machine's limit."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render
from pacos.cli.options import groups_from, only_these, with_options
from pacos.errors import UsageError
from pacos.settings import LoadOptions

if TYPE_CHECKING:
    from pacos.llm import LLM


@click.command()
@click.argument("model", required=False)
@click.option(
    "-p", "--n-prompt", type=click.IntRange(min=0), default=512, show_default=True, help="Prompt tokens; 0 skips."
)
@click.option(
    "-n", "--n-gen", type=click.IntRange(min=0), default=128, show_default=True, help="Tokens to generate; 0 skips."
)
@click.option(
    "-d", "--n-depth", type=click.IntRange(min=0), default=0, show_default=True, help="Tokens in the cache before."
)
@click.option("--sequences", type=click.IntRange(min=1), default=1, show_default=True, help="Sequences side by side.")
@click.option(
    "-r", "--repetitions", type=click.IntRange(min=1), default=3, show_default=True, help="Runs of each test."
)
@click.option("--machine", is_flag=True, help="Measure the machine alone: read bandwidth and 8-bit rate.")
@click.option(
    "--make", metavar="PRESET", help="Write a random model of that form (tiny, 100m, 1b, 3b, 8b) to MODEL instead."
)
@click.option("--make-type", default="Q4_K_M", show_default=True, metavar="TYPE", help="Type of --make's tensors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@with_options(LoadOptions)
def command(model: str | None, **given: Any) -> None:
    """Measure prompt and generation speed.

    Rates are tokens per second, medians over the repetitions, after one warm-up run; sampling is not part of them.

    Example:  pacos bench model.gguf -p 512 -n 128 --threads 2
    """
    if given["machine"]:
        only_these({"machine", "threads", "as_json"}, "with --machine")
    elif given["make"]:
        only_these({"model", "make", "make_type"}, "with --make")
    else:
        only_these(set(click.get_current_context().params) - {"make_type"}, "without --make")
    (options,) = groups_from((LoadOptions,), given)
    if given["machine"]:
        _report_machine(options.threads, given["as_json"])
        return
    if model is None:
        raise UsageError("there is no model to measure", hint="give a GGUF file, or --machine")
    if given["make"]:
        _make(Path(model), given["make"], given["make_type"])
        return
    if not given["n_prompt"] and not given["n_gen"]:
        raise UsageError("there is nothing to measure", hint="give --n-prompt or --n-gen")
    from dataclasses import replace

    from pacos.llm import load

    longest = given["n_depth"] + max(given["n_prompt"], given["n_gen"], 1)
    if 0 < options.ctx_size < longest:
        raise UsageError(
            f"a context of {options.ctx_size} tokens is too small: the test needs {longest}",
            hint="leave out --ctx-size, or measure fewer tokens",
        )
    options = replace(options, ctx_size=options.ctx_size or longest, parallel=given["sequences"])
    with load(model, options=options) as llm:
        found = _measure(llm, given)
    if given["as_json"]:
        render.as_json({"model": model, "threads": _cores(options)[0], "depth": given["n_depth"], **found})
        return
    rows = [(kind, f"{statistics.median(r):.2f}", f"{min(r):.2f}", f"{max(r):.2f}") for kind, r in found.items() if r]
    render.table(("test", "tokens/s", "min", "max"), rows)


def _measure(llm: LLM, given: dict[str, Any]) -> dict[str, list[float]]:
    from pacos.engine.measure import Test, run_test

    program, pages = llm.engine.program, llm.engine.pages
    kinds = {"prompt": given["n_prompt"], "generate": given["n_gen"]}
    run_test(program, pages, Test("prompt", min(8, max(kinds.values()))))
    found: dict[str, list[float]] = {}
    with render.progress("measuring", given["repetitions"] * 2) as done:
        for place, (kind, tokens) in enumerate(kinds.items()):
            test = Test(kind, tokens, given["n_depth"], given["sequences"])
            found[kind] = []
            for turn in range(given["repetitions"] if tokens else 0):
                found[kind].append(run_test(program, pages, test))
                done(place * given["repetitions"] + turn + 1)
    return found


def _cores(options: LoadOptions) -> tuple[int, str]:
    """How many threads compute with these options, and with which instruction set."""
    from pacos.backends import backend

    opened = backend(options.backend, threads=options.threads)
    try:
        return getattr(opened, "threads", 1), getattr(opened, "isa", "")
    finally:
        opened.close()


def _report_machine(threads: int, as_json: bool) -> None:
    from pacos.backends.cpu import machine

    count, isa = _cores(LoadOptions(threads=threads))
    found: dict[str, Any] = {
        "threads": count,
        "instruction_set": isa,
        "bytes_per_second": machine.read_bandwidth(count),
        "int8_operations_per_second": machine.int8_rate(count, isa),
    }
    if as_json:
        render.as_json(found)
        return
    click.echo(f"threads              {count} ({isa})")
    click.echo(f"read bandwidth       {found['bytes_per_second'] / 1e9:.1f} GB/s")
    click.echo(f"8-bit integer rate   {found['int8_operations_per_second'] / 1e9:.0f} GOPS")


def _make(path: Path, preset: str, type_name: str) -> None:
    from pacos.hub.random_model import write_random_model

    if path.exists():
        raise UsageError(f"{path} exists", hint="give another name")
    write_random_model(path, preset=preset, type=type_name.upper())
    click.echo(f"{path}: {render.size_text(path.stat().st_size)}", err=True)
