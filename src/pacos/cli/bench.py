"""`pacos bench`: how fast a model computes here, and how near that is to the machine's limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render
from pacos.cli.options import Sectioned, groups_from, only_these, with_options
from pacos.errors import UsageError
from pacos.settings import LoadOptions

if TYPE_CHECKING:
    from pacos.backends import Program
    from pacos.backends.cpu.machine import Machine
    from pacos.cli.bench_rows import Measured
    from pacos.engine.measure import Test, TestBed
    from pacos.engine.profile import Profile
    from pacos.engine.work import Work
    from pacos.llm import LLM

_COUNT_MAX = 1 << 24
_PAGE_TOKENS_MAX = 256
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _numbers(
    least: int, most: int = _COUNT_MAX
) -> Callable[[click.Context, click.Parameter, str | None], tuple[int, ...] | None]:
    """Read whole numbers joined with commas, such as 512,2048: each once, in the order given."""

    def convert(context: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
        if value is None:
            return None
        words = [word.strip() for word in value.split(",")]
        if not all(word.isascii() and word.isdigit() and len(word) < 12 for word in words):
            raise click.BadParameter(f"{value!r} is no list of whole numbers such as 512,2048.", context, param)
        numbers = tuple(dict.fromkeys(int(word) for word in words))
        for number in numbers:
            if not least <= number <= most:
                raise click.BadParameter(f"{number} is not from {least} to {most}.", context, param)
        return numbers

    return convert


def _list_option(*names: str, default: str | None, least: int, most: int = _COUNT_MAX, text: str) -> Decorator:
    return click.option(
        *names,
        default=default,
        show_default=default is not None,
        metavar="N,N,...",
        callback=_numbers(least, most),
        help=text,
    )


@dataclass(slots=True)
class Found:
    """What has been measured so far."""

    measured: list[Measured] = field(default_factory=list)
    profiles: list[tuple[Profile, Machine | None]] = field(default_factory=list)
    machines: list[Machine] = field(default_factory=list)


@click.command(cls=Sectioned)
@click.argument("model", required=False)
@_list_option("-p", "--n-prompt", default="512", least=0, text="Prompt tokens; 0 skips.")
@_list_option("-n", "--n-gen", default="128", least=0, text="Tokens to generate; 0 skips.")
@_list_option("-d", "--n-depth", default="0", least=0, text="Tokens in the cache before.")
@_list_option("-np", "--parallel", default="1", least=1, most=4096, text="Sequences side by side.")
@_list_option("-t", "--threads", default=None, least=0, most=1024, text="Threads; 0 is one per physical core.")
@click.option(
    "-r", "--repetitions", type=click.IntRange(min=1), default=3, show_default=True, help="Runs of each test."
)
@click.option("--profile", is_flag=True, help="Run each test once more and print its time by operation.")
@click.option("--machine", is_flag=True, help="Measure the machine alone: reads, 8-bit and f32 rates.")
@click.option(
    "--make", metavar="PRESET", help="Write a random model of that form (tiny, 100m, 1b, moe, 3b, 8b) to MODEL instead."
)
@click.option("--make-type", default="Q4_K_M", show_default=True, metavar="TYPE", help="Type of --make's tensors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--csv", "as_csv", is_flag=True, help="Print a header and one line a test, separated by commas.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw the rates into a picture.")
@with_options(LoadOptions, without=("threads", "parallel"))
def command(model: str | None, **given: Any) -> None:
    """Measure prompt and generation speed.

    -p, -n, -d, -np and -t take several numbers, joined with commas; every combination is a test, named as llama-bench
    does: pp512, tg128 @ d4096; tg64 x8 are eight sequences together. Rates are tokens per second of all sequences,
    medians over the repetitions, after a warm-up; sampling is not part of them. Of an encoder-decoder the encoder reads
    the prompt, and the decoder generates after a source of --n-depth tokens, one at least. The share of the peak is the
    time that reading the weights and the cache, or multiplying the weights, would take at the limits that the machine
    shows in the same run, whichever is longer, over the time taken.

    Example:  pacos bench model.gguf -p 512,2048 -n 128 -d 0,4096 -t 1,2
    """
    if given["machine"]:
        only_these({"machine", "threads", "as_json"}, "with --machine")
    elif given["make"]:
        only_these({"model", "make", "make_type"}, "with --make")
    else:
        only_these(set(click.get_current_context().params) - {"make_type"}, "without --make")
    threads, parallel = given.pop("threads"), given.pop("parallel")
    (options,) = groups_from((LoadOptions,), given)
    given["parallel"] = parallel
    threads = threads if threads is not None else (options.threads,)
    if given["machine"]:
        _report_machine(threads, given["as_json"])
        return
    if model is None:
        raise UsageError("there is no model to measure", hint="give a GGUF file, or --machine")
    if given["make"]:
        _make(Path(model), given["make"], given["make_type"])
        return
    if given["as_json"] and given["as_csv"]:
        raise UsageError("--json and --csv exclude each other", hint="give one of them")
    if given["as_csv"] and given["profile"]:
        raise UsageError("--csv has no room for a profile", hint="use --json")
    if given["plot"]:
        from pacos.cli.bench_plot import check_plot

        check_plot(given["plot"])
    found = Found()
    try:
        _measure_all(model, _tests(given), threads, options, given, found)
    finally:  # Ctrl-C too: what was measured by then is worth its time
        if found.measured:
            _report(model, given, found)


def _tests(given: dict[str, Any]) -> list[Test]:
    """Every combination, those that share a filled cache one after the other. Errors: UsageError for none."""
    from pacos.engine.measure import Test

    tests = [
        Test(kind, tokens, depth, sequences)
        for sequences in given["parallel"]
        for depth in given["n_depth"]
        for kind, counts in (("prompt", given["n_prompt"]), ("generate", given["n_gen"]))
        for tokens in counts
        if tokens
    ]
    if not tests:
        raise UsageError("there is nothing to measure", hint="give --n-prompt or --n-gen")
    return tests


def _measure_all(
    model: str, tests: list[Test], threads: tuple[int, ...], options: LoadOptions, given: dict[str, Any], found: Found
) -> None:
    """One load for each number of threads, with a cache for the largest test."""
    from dataclasses import replace

    from pacos.llm import load

    longest = max(test.depth + test.tokens for test in tests)
    if 0 < options.ctx_size < longest:
        raise UsageError(
            f"a context of {options.ctx_size} tokens is too small: the test needs {longest}",
            hint="leave out --ctx-size, or measure fewer tokens",
        )
    context = options.ctx_size or longest
    room = max(test.sequences * (test.depth + test.tokens + _PAGE_TOKENS_MAX) for test in tests)
    options = replace(options, ctx_size=context, parallel=-(-room // context))
    with render.progress("measuring", len(threads) * len(tests) * given["repetitions"]) as done:
        for count in threads:
            chosen = replace(options, threads=count)
            machine = _machine(count) if options.backend == "cpu" else None
            if machine is not None:
                found.machines.append(machine)
            with load(model, options=chosen) as llm:
                used = machine.threads if machine else _cores(chosen)[0]
                _measure(llm, tests, used, machine, given, found, done)


def _measure(
    llm: LLM,
    tests: list[Test],
    threads: int,
    machine: Machine | None,
    given: dict[str, Any],
    found: Found,
    done: Callable[[int], None],
) -> None:
    from pacos.cli.bench_rows import Measured
    from pacos.engine.measure import Test, TestBed
    from pacos.engine.profile import profile

    bed = TestBed(llm.engine.program, llm.engine.pages, _encoder(llm))
    tests = _possible(llm, tests)
    bed.seconds(Test("prompt", min(8, max(test.tokens for test in tests))))
    works = _works(llm, bed, tests)
    before = sum(len(one.seconds) for one in found.measured)
    for test, work in zip(tests, works, strict=True):
        seconds: list[float] = []
        try:
            for _ in range(given["repetitions"]):
                seconds.append(bed.seconds(test))
                done(before + len(seconds))
        finally:
            if seconds:
                found.measured.append(Measured(test, threads, tuple(seconds), work, machine))
                before += len(seconds)
        if given["profile"]:
            found.profiles.append((profile(bed, test, llm.engine.pages.layout), machine))


def _encoder(llm: LLM) -> Program | None:
    """What reads the prompts of an encoder-decoder."""
    from pacos.models import HIDDEN

    return llm.engine.program_of(HIDDEN) if llm.engine.start_token >= 0 else None


def _possible(llm: LLM, tests: list[Test]) -> list[Test]:
    """The tests that the model can run. Errors: UsageError for none."""
    reads, alone = llm.engine.start_token >= 0, not llm.engine.causal
    left_out = [
        one
        for one in tests
        if (alone and one.kind == "generate") or ((alone or reads) and one.depth and one.kind == "prompt")
    ]
    kept = [one for one in tests if one not in left_out]
    if left_out:
        why = "an encoder generates nothing, and reads" if alone else "an encoder reads"
        text = f"{why} a prompt from its start, without a cache"
        if not kept:
            raise UsageError(f"none of these tests is possible: {text}", hint="use --n-depth 0 and --n-prompt")
        render.warn(f"left out: {', '.join(one.name for one in left_out)}; {text}")
    return kept


def _works(llm: LLM, bed: TestBed, tests: list[Test]) -> list[Work]:
    """What each test must compute and read at least."""
    from pacos.engine.work import Work, plan_work
    from pacos.hub.describe import optimised_plans

    plans, layout = optimised_plans(llm.archive), llm.engine.pages.layout
    return [
        sum((plan_work(plans[0 if one.kind == "prompt" else -1], form, layout) for form in bed.steps_of(one)), Work())
        for one in tests
    ]


def _report(model: str, given: dict[str, Any], found: Found) -> None:
    from pacos.cli.bench_rows import bench_data, csv_text, machine_text, print_profile, print_table, profile_data

    if given["as_json"]:
        profiles = [profile_data(one, machine) for one, machine in found.profiles]
        render.as_json(bench_data(model, found.machines, found.measured, profiles))
    elif given["as_csv"]:
        render.write(csv_text(model, found.measured))
    else:
        for machine in found.machines:
            click.echo(machine_text(machine))
        print_table(found.measured)
        for one, limits in found.profiles:
            print_profile(one, limits)
    if given["plot"]:
        from pacos.cli.bench_plot import plot

        plot(given["plot"], Path(model).name, found.measured)


def _cores(options: LoadOptions) -> tuple[int, str]:
    """How many threads compute with these options, and with which instruction set."""
    from pacos.backends import backend

    opened = backend(options.backend, threads=options.threads)
    try:
        return getattr(opened, "threads", 1), getattr(opened, "isa", "")
    finally:
        opened.close()


def _machine(threads: int) -> Machine:
    from pacos.backends.cpu import machine

    return machine.measure(*_cores(LoadOptions(threads=threads)))


def _report_machine(threads: tuple[int, ...], as_json: bool) -> None:
    from dataclasses import asdict

    from pacos.cli.bench_rows import machine_text

    machines = [_machine(count) for count in threads]
    if as_json:
        render.as_json({"machine": [asdict(one) for one in machines]})
        return
    for one in machines:
        click.echo(machine_text(one))


def _make(path: Path, preset: str, type_name: str) -> None:
    from pacos.hub.random_model import write_random_model

    if path.exists():
        raise UsageError(f"{path} exists", hint="give another name")
    write_random_model(path, preset=preset, type=type_name.upper())
    click.echo(f"{path}: {render.size_text(path.stat().st_size)}", err=True)
