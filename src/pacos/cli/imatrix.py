"""`pacos imatrix`: measure which weights of a model matter, for `pacos quantize --imatrix`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pacos.cli import render
from pacos.cli.options import groups_from, read_text_option, with_options
from pacos.errors import UsageError
from pacos.settings import LoadOptions

if TYPE_CHECKING:
    from pacos.formats.imatrix import ImportanceMatrix
    from pacos.llm.importance import Collector

COLLECT = "collect"  # the subcommand that has no name on the command line
_CONTEXT_TOKENS = 512
_KIND = click.option(
    "--output-format",
    type=click.Choice(("gguf", "dat")),
    help="Kind of file. Default: dat where the name ends so, else gguf.",
)


class _Imatrix(click.Group):
    """Collect a matrix, unless the first word names something to do with those that are there."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """Send everything that is no subcommand to `collect`."""
        if not arguments or arguments[0] not in set(self.commands) - {COLLECT}:
            arguments = [COLLECT, *arguments]
        return super().parse_args(context, arguments)

    def get_help(self, context: click.Context) -> str:
        """The help of collecting, which names the subcommands."""
        with click.Context(self.commands[COLLECT], info_name=context.info_name, parent=context.parent) as inner:
            return self.commands[COLLECT].get_help(inner)


@click.group(cls=_Imatrix)
def command() -> None:
    """Measure which weights of a model matter."""


@command.command(COLLECT)
@click.argument("model")
@click.option("-f", "--file", required=True, metavar="FILE", help="The text; - is standard input.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default="imatrix.gguf", show_default=True)
@_KIND
@click.option("--chunks", type=click.IntRange(min=-1), default=-1, metavar="N", help="Chunks to read; -1 is all.")
@click.option(
    "--chunk",
    "--from-chunk",
    "first",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Leave out so many chunks at the start.",
)
@click.option(
    "--output-frequency",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="N",
    help="Save after every N chunks.",
)
@click.option(
    "--save-frequency",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Keep a copy as FILE.at_N after every N chunks.",
)
@click.option(
    "--in-file",
    "before",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Add to the matrix in this file; several times for several.",
)
@click.option("--process-output", is_flag=True, help="Measure output.weight too.")
@click.option("--parse-special", is_flag=True, help="Read names of special tokens in the text as these.")
@click.option("--no-ppl", is_flag=True, help="Measure no perplexity on the way.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--force", is_flag=True, help="Replace the output when it is there.")
@with_options(LoadOptions)
def collect(model: str, file: str, output: Path, before: tuple[Path, ...], force: bool, **given: Any) -> None:
    """Measure which weights of a model matter: the squares of what they are multiplied with while it reads a text.

    The text is read in chunks of the context's size (-c, 512 by default), as llama-imatrix does; the file is one that
    llama-quantize reads too. Ctrl-C saves what was read by then. `pacos imatrix merge` adds up files,
    `pacos imatrix show` tells what is in one.

    Example:  pacos imatrix model-f16.gguf -f text.txt -o model.imatrix.gguf
    """
    from dataclasses import replace

    from pacos.cli.convert import check_output
    from pacos.formats.imatrix import read_imatrix
    from pacos.llm import load
    from pacos.llm.importance import Collector

    (options,) = groups_from((LoadOptions,), given)
    if given["chunks"] == 0:
        raise UsageError("--chunks is 0", hint="use 1 or more, or -1 for all")
    check_output(output, force)
    size = options.ctx_size or _CONTEXT_TOKENS
    earlier = [read_imatrix(path) for path in before]
    text = read_text_option(file, "--file")
    with load(model, options=replace(options, ctx_size=size, parallel=1)) as llm:
        collector = Collector(llm, size, output=given["process_output"], scored=not given["no_ppl"])
        tokens = llm.tokenize(text, parse_special=given["parse_special"])
        chunks = collector.chunks(tokens, given["first"], given["chunks"])
        saver = _Saver(output, _kind_of(output, given["output_format"]), file, earlier)
        with collector, render.progress("reading", len(chunks)) as done:
            _read(collector, chunks, saver, given, done)
        found = saver.saved
    _report(output, found, collector.scores, given["as_json"])


class _Saver:
    """Writes what a collector has seen."""

    def __init__(self, output: Path, kind: str, dataset: str, before: Sequence[ImportanceMatrix]) -> None:
        from pacos.formats.imatrix import ImportanceMatrix

        self._output, self._kind, self._dataset, self._before = output, kind, dataset, before
        self.saved = ImportanceMatrix()

    def save(self, collector: Collector, copy: int = 0) -> None:
        """Write the file, or a copy after so many chunks."""
        from pacos.formats.imatrix import write_imatrix

        self.saved = collector.matrix(self._dataset, self._before)
        path = self._output.with_name(f"{self._output.name}.at_{copy}") if copy else self._output
        write_imatrix(path, self.saved, self._kind)


def _read(collector: Collector, chunks: list[list[int]], saver: _Saver, given: dict[str, Any], done: Any) -> None:
    """Read all chunks; whatever stops it, what was read is saved."""
    saved = read = 0
    try:
        for chunk in chunks:
            collector.read(chunk)
            read += 1
            done(read)
            if given["save_frequency"] and read % given["save_frequency"] == 0:
                saver.save(collector, read)
            if read % given["output_frequency"] == 0:
                saver.save(collector)
                saved = read
    finally:
        if read > saved:
            saver.save(collector)
            if read < len(chunks):
                render.warn(f"{read} of {len(chunks)} chunks were read, and are saved")


def _kind_of(output: Path, given: str | None) -> str:
    return given or ("dat" if output.suffix.lower() == ".dat" else "gguf")


def _report(output: Path, matrix: ImportanceMatrix, scores: list[float], as_json: bool) -> None:
    from pacos.cli.perplexity import perplexity_of

    partial = [name for name, entry in matrix.entries.items() if not all(entry.rows)]
    if as_json:
        found = {"output": str(output), "tensors": len(matrix.entries), "chunks": matrix.chunks}
        scored = {"perplexity": perplexity_of(scores)[0], "tokens_scored": len(scores)} if scores else {}
        render.as_json({**found, "chunk_tokens": matrix.chunk_tokens, "partial": partial, **scored})
        return
    if partial:
        render.warn(f"the text reached not all experts of {len(partial)} tensors; a longer one may")
    text = f"{output}: {len(matrix.entries)} tensors, {matrix.chunks} chunks of {matrix.chunk_tokens} tokens"
    click.echo(text + ("; perplexity {:.4f} +/- {:.4f}".format(*perplexity_of(scores)) if scores else ""))


@command.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path))
@_KIND
@click.option(
    "-c",
    "--ctx-size",
    type=click.IntRange(min=1),
    metavar="N",
    help="Tokens of a chunk. Default: as the first file says, or 512.",
)
@click.option("--force", is_flag=True, help="Replace the output when it is there.")
def merge(files: tuple[Path, ...], output: Path, output_format: str | None, ctx_size: int | None, force: bool) -> None:
    """Add up matrices of one model, or turn one into the other kind of file.

    Example:  pacos imatrix merge code.gguf prose.gguf -o both.gguf
    """
    from pacos.cli.convert import check_output
    from pacos.formats.imatrix import merged, read_imatrix, write_imatrix

    check_output(output, force)
    matrices = [read_imatrix(file) for file in files]
    size = ctx_size or next((one.chunk_tokens for one in matrices if one.chunk_tokens), _CONTEXT_TOKENS)
    made = merged(matrices, size)
    write_imatrix(output, made, _kind_of(output, output_format))
    click.echo(f"{output}: {len(made.entries)} tensors, {made.chunks} chunks of {size} tokens", err=True)


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(file: Path, as_json: bool) -> None:
    """Print statistics of a matrix, tensor by tensor, then layer by layer, as llama-imatrix's --show-statistics.

    sum, min, max, mean and deviation are of the mean squares of a tensor's inputs; active is the share above 1e-5;
    entropy tells how evenly they are spread (E, in percent of the most possible); ZD is the share that lies more than a
    deviation above the mean; cosine compares with the same tensor of the layer before.
    """
    from pacos.formats.imatrix import read_imatrix
    from pacos.hub.importance import layers_of, statistics_of

    matrix = read_imatrix(file)
    rows = statistics_of(matrix)
    layers = layers_of(rows)
    if as_json:
        facts = {"datasets": matrix.datasets, "chunks": matrix.chunks, "chunk_tokens": matrix.chunk_tokens}
        render.as_json({**facts, "tensors": [one.data() for one in rows], "layers": [one.data() for one in layers]})
        return
    if matrix.datasets:
        click.echo(f"text: {render.printable(', '.join(matrix.datasets))}")
    size = f" of {matrix.chunk_tokens} tokens" if matrix.chunk_tokens else ""
    click.echo(f"chunks: {matrix.chunks}{size}; tensors: {len(matrix.entries)}\n")
    heads = ("layer", "tensor", "sum", "min", "max", "mean", "deviation", "active", "N", "entropy", "E", "ZD", "cosine")
    render.table(heads, [tuple(map(render.printable, one.cells())) for one in rows])
    click.echo("")
    render.table(("layer", "sum", "ZD", "cosine"), [one.cells() for one in layers])
