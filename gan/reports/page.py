"""A comparison as one HTML file: table, curves, samples. It needs no server, no network and no script."""

import base64
from collections.abc import Callable, Iterator
from html import escape

from gan.reports.comparison import Comparison
from gan.reports.curves import Curve, color, dashes, draw
from gan.reports.groups import Group
from gan.reports.table import table
from gan.runs.records import Points, RunRecords

_READING = (
    "Mean ± standard deviation over seeds. A run's best value is chosen by the score itself, so it is too good. "
    "Runs that diverged take no part in means."
)
_LOSSES = "loss/discriminator", "loss/generator"
_STYLE = """
:root { color-scheme: light; --line: #ddd; --soft: #666 }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 0 auto; padding: 1rem;
  color: #111; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem } h3 { font-size: 1rem; margin: 0 0 .3rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap }
th { border-bottom: 2px solid #999 } td.name { font-weight: 600 }
.charts, .grids { display: grid; gap: 1.2rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)) }
.grids { grid-template-columns: repeat(auto-fill, minmax(min(100%, 260px), 1fr)) }
figure { margin: 0; break-inside: avoid } figcaption { font-size: 13px; color: var(--soft); overflow-wrap: anywhere }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; fill: #333 }
svg .grid { stroke: #e5e5e5 } svg .run { stroke-width: 1; opacity: .45 } svg .mean { stroke-width: 2.2 }
img { width: 100%; height: auto; image-rendering: pixelated; background: #000 }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin: .4rem 0 1rem; padding: 0; list-style: none }
.legend svg { width: 28px; height: 10px; vertical-align: middle; margin-right: .4rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 .8rem; font-size: 13px; overflow-wrap: anywhere }
dt { color: var(--soft) } dd { margin: 0; min-width: 0 } .note { font-size: 14px }
@media (max-width: 500px) { dl { grid-template-columns: 1fr } dd { margin-bottom: .3rem } }
@media print {
  body { max-width: none; padding: 0; font-size: 11px } table { font-size: 8.5px } th, td { padding: .15rem .3rem }
  th, td { white-space: normal } .charts { grid-template-columns: 1fr 1fr }
  .grids { grid-template-columns: repeat(4, 1fr) }
  h2 { break-after: avoid }
}
"""


def page(comparison: Comparison, title: str) -> str:
    """Return the HTML document."""
    body = "\n".join(
        [
            f"<h1>{escape(title)}</h1>",
            _table(comparison),
            f"<p class=note>{_READING}</p>",
            _notes(comparison),
            "<h2>Curves</h2>",
            _legend(comparison.groups),
            f"<div class=charts>{''.join(_charts(comparison))}</div>",
            "<h2>Samples</h2>",
            f"<div class=grids>{''.join(_grids(comparison.groups))}</div>",
            "<h2>How the scores were made</h2>",
            *_protocols(comparison),
        ]
    )
    head = "<meta charset=utf-8><meta name=viewport content='width=device-width, initial-scale=1'>"
    head += f"<title>{escape(title)}</title><style>{_STYLE}</style>"
    return f"<!doctype html>\n<html lang=en><head>{head}</head>\n<body>{body}</body></html>\n"


def _table(comparison: Comparison) -> str:
    titles, rows = table(comparison)
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    lines = []
    for name, *cells in rows:
        lines.append(
            f"<tr><td class=name>{escape(name)}</td>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        )
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"


def _notes(comparison: Comparison) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes)
    return f"<ul class=note>{items}</ul>" if items else ""


def _legend(groups: list[Group]) -> str:
    items = []
    for number, group in enumerate(groups):
        line = (
            f'<line x1=0 x2=28 y1=5 y2=5 stroke-width=3 stroke="{color(number)}" stroke-dasharray="{dashes(number)}"/>'
        )
        items.append(f"<li><svg viewBox='0 0 28 10' aria-hidden=true>{line}</svg>{escape(group.name)}</li>")
    return f"<ul class=legend>{''.join(items)}</ul>"


def _charts(comparison: Comparison) -> Iterator[str]:
    for column in comparison.columns:
        better = "less is better" if column.lower_is_better else "more is better"
        yield _chart(column.title, better, comparison.groups, column.points)
    for name in _LOSSES:
        yield _chart(name, "", comparison.groups, lambda run, name=name: run.series(name))  # type: ignore[misc]


def _chart(title: str, remark: str, groups: list[Group], points: Callable[[RunRecords], Points]) -> str:
    curves = [Curve(group.name, number, [points(run) for run in group.runs]) for number, group in enumerate(groups)]
    drawing = draw(title, curves, may_be_log=bool(remark))
    caption = f"<figcaption>{remark}</figcaption>" if remark else ""
    return f"<figure><h3>{escape(title)}</h3>{drawing}{caption}</figure>" if drawing else ""


def _grids(groups: list[Group]) -> Iterator[str]:
    for group in groups:
        for run in group.runs:
            if (path := run.newest_grid) is not None:
                content = base64.b64encode(path.read_bytes()).decode()
                step = int(path.stem.removeprefix("step_"))
                name = escape(f"{group.name}, seed {run.seed}")
                image = f'<img alt="samples of {name}" src="data:image/png;base64,{content}">'
                yield f"<figure>{image}<figcaption>{name}, step {step}</figcaption></figure>"


def _protocols(comparison: Comparison) -> Iterator[str]:
    for letter, protocol in comparison.protocols.items():
        heading = f"<h3>Protocol [{letter}]</h3>" if letter else ""
        fields = "".join(f"<dt>{escape(field)}</dt><dd>{escape(str(value))}</dd>" for field, value in protocol)
        yield f"{heading}<dl>{fields}</dl>"
