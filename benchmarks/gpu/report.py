"""Tables of the results, as Markdown."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.gpu.stage import Line, read

FORM_NAMES = {None: "", "_plain": ", plain form", "_channel_products": ", channel products"}
FORM_NAMES |= {"_separable": ", separable form", "_triton": ", Triton"}


def report(out: Path) -> str:
    """Return all tables for which there are results."""
    lines = read(out)

    def of(stage: str) -> list[Line]:
        return [line for line in lines if line["stage"] == stage]

    tables = [
        ("The card", _environment(of("environment"))),
        ("Generator steps", _training([*of("training"), *of("compile")])),
        ("A discriminator's update", _steps(of("steps"))),
        ("Layers, forward and backward", _layers(of("layers"))),
        ("Tensors that differ after 20 steps", _resume(of("resume"))),
        ("Errors relative to float64", _exactness(of("exactness"))),
        ("Waits for the device", _plain(of("waits"), ("network", "case", "waits", "said", "error"))),
        ("Tests", _plain(of("tests"), ("last", "failed", "rc"))),
        ("Classifiers", _plain(of("classifiers"), ("method", "accuracy", "seconds", "rc"))),
        ("Errors", _plain([line for line in lines if "error" in line], ("stage", "t", "error", "where"))),
        ("Stages", _plain(of("done"), ("what", "part", "rc", "seconds", "t"))),
    ]
    return "\n\n".join(f"## {name}\n\n{table}" for name, table in tables if table)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; empty without rows."""
    body = [f"| {' | '.join('' if cell is None else str(cell) for cell in row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *body]) if body else ""


def _plain(lines: list[Line], names: Sequence[str]) -> str:
    return table(names, ([line.get(name) for name in names] for line in lines))


def _environment(lines: list[Line]) -> str:
    facts = [(name, value) for line in lines for name, value in line.items() if name in ("card", "torch", "cudnn")]
    units = {"TB_s": "TB/s", "TFLOP_s": "TFLOP/s", "us": "µs"}
    measured = [(line["what"], f"{line[key]} {units[key]}") for line in lines for key in units if key in line]
    return table(("", ""), [*facts, *measured])


def _training(lines: list[Line]) -> str:
    timed = [line for line in lines if "ms" in line and not line.get("part")]
    ways = list(dict.fromkeys(line["way"] for line in timed))
    cases = dict.fromkeys((line["network"], line["norm"]) for line in timed)
    found = {(line["network"], line["norm"], line["way"]): line for line in timed}

    def row(network: str, norm: str) -> list[object]:
        of_ways = [found.get((network, norm, way)) for way in ways]
        cells = [None if line is None else f"{line['ms']:.1f}" for line in of_ways]
        best = min((line for line in of_ways if line), key=lambda line: line["ms"])
        return [network, norm, *cells, best["images_s"], best.get("peak_MiB")]

    head = ["network", "norm of D", *(f"{way}, ms" for way in ways), "images/s of the fastest", "its MiB"]
    return table(head, (row(*case) for case in cases))


def _variant(line: Line) -> str:
    return line["variant"] + FORM_NAMES.get(line["form"], f", {line['form']}")


def _steps(lines: list[Line]) -> str:
    timed = [line for line in lines if "ms" in line]
    base = {
        (line["network"], line["precision"]): line.get("graph_ms") for line in timed if line["variant"] == "BatchNorm"
    }

    def row(line: Line) -> list[object]:
        batch_norm, graph = base.get((line["network"], line["precision"])), line.get("graph_ms")
        ratio = f"{graph / batch_norm:.2f}" if graph and batch_norm else None
        numbers = [line.get(name) for name in ("ms", "graph_ms", "kernel_ms", "launches", "moved_MB", "peak_MiB")]
        return [line["network"], line["precision"], _variant(line), *numbers, ratio]

    times = "eager, ms", "graph, ms", "kernels, ms"
    head = "network", "precision", "norm", *times, "launches", "MB moved", "MiB", "of BatchNorm's"
    return table(head, map(row, timed))


def _layers(lines: list[Line]) -> str:
    timed = [line for line in lines if "ms" in line]
    variants = list(dict.fromkeys(_variant(line) for line in timed))
    found = {(line["layer"], _variant(line)): line.get("graph_ms", line["ms"]) for line in timed}
    layers = dict.fromkeys(line["layer"] for line in timed)

    def cell(layer: str, variant: str) -> str | None:
        milliseconds = found.get((layer, variant))
        return None if milliseconds is None else f"{1e3 * milliseconds:.0f}"

    head = ["layer (µs, as CUDA graphs where there is a GPU)", *variants]
    return table(head, ([layer, *(cell(layer, variant) for variant in variants)] for layer in layers))


def _resume(lines: list[Line]) -> str:
    compared = [line for line in lines if "unequal" in line]
    head = ["training", "tensors", *(compared[0]["unequal"] if compared else [])]
    return table(head, ([line["case"], line["tensors"], *line["unequal"].values()] for line in compared))


def _exactness(lines: list[Line]) -> str:
    compared = [line for line in lines if "output" in line]
    precisions = list(dict.fromkeys(line["precision"] for line in compared))
    found = {(line["layer"], line["form"], line["precision"]): line for line in compared}

    def cell(layer: str, form: str | None, precision: str) -> str | None:
        line = found.get((layer, form, precision))
        return None if line is None else f"{line['output']:.0e}, {line['gradients']:.0e}"

    cases = dict.fromkeys((line["layer"], line["form"]) for line in compared)
    rows = ([layer, form or "chosen", *(cell(layer, form, each) for each in precisions)] for layer, form in cases)
    return table(["layer (output, gradients)", "form", *precisions], rows)
