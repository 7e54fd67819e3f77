"""The leaderboard as one HTML page that needs no network: inline style, inline SVG, no script.

Built around two charts: for each average, bars of the model beside published ones; for each task, one dot per
model. It knows only `Table`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from eval.runner import TaskOutcome
from eval.table import Row, Score, Table, scored_text

# A chart stays readable with five models; the table below it has all.
_COMPARISONS = ("VLM2Vec-V2.0", "Qwen3-VL-Embedding-2B", "GME-Qwen2-VL-7B", "ColPali")
_LEFT, _WIDTH, _RIGHT = 240, 560, 40


def as_html(table: Table, name: str, outcomes: Sequence[TaskOutcome]) -> str:
    """Returns the page."""
    columns = _chart_columns(table)
    own = table.columns[name]
    cards = "".join(
        _card(row.title, own[row.name])
        for row in table.rows
        if row.level in ("overall", "modality") and row.name in own
    )
    averages = [r for r in table.rows if r.level != "task"]
    parts = [
        f"<h1>{escape(name)} on MMEB-V2</h1>",
        f"<p>{scored_text(outcomes)}. Image and video tasks: hit@1. Visual documents: NDCG@5. Percent. "
        f"Data: {escape(table.data_version)}. {escape(table.rules_text)}</p>",
        f'<div class="cards">{cards}</div>',
        "<h2>By family</h2>",
        _key(columns),
        _bars(table, averages, columns),
        "<h2>By task</h2>",
        "<p>One dot a model; the larger one is this run.</p>",
        _key(columns),
        _dots(table, [r for r in table.rows if r.level == "task"], columns),
        "<h2>All numbers</h2>",
        _numbers(table),
        _notes(outcomes),
    ]
    page = (Path(__file__).parent / "page.html").read_text("utf-8")
    return page.replace("@title@", f"{escape(name)} on MMEB-V2").replace("@body@", "\n".join(parts))


def _card(title: str, score: Score) -> str:
    part = "" if score.whole else f" ({score.tasks} of {score.total} tasks)"
    return f'<div class="card"><b>{score.percent:.1f}</b><span>{escape(title)}{part}</span></div>'


def _hover(column: str, row: Row, score: Score) -> str:
    return f"<title>{escape(column)}, {escape(row.title)}: {score.percent:.1f}</title>"


def _chart_columns(table: Table) -> list[str]:
    """Returns at most five models: this run, other runs in the folder, then `_COMPARISONS`."""
    published = [c for start in _COMPARISONS for c in table.columns if c not in table.own and c.startswith(start)]
    return [*table.own, *published][:5]


def _key(columns: Sequence[str]) -> str:
    entries = "".join(f'<span><i style="background:var(--m{i})"></i>{escape(c)}</span>' for i, c in enumerate(columns))
    return f'<div class="key">{entries}</div>'


def _x(percent: float) -> float:
    return _LEFT + _WIDTH * max(0.0, min(100.0, percent)) / 100


def _axis(height: int) -> list[str]:
    out = []
    for percent in range(0, 101, 20):
        out.append(f'<line x1="{_x(percent)}" x2="{_x(percent)}" y1="14" y2="{height}"/>')
        out.append(f'<text class="dim" x="{_x(percent)}" y="10" text-anchor="middle">{percent}</text>')
    return out


def _svg(height: int, label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {height}" role="img" aria-label="{escape(label)}">'
        + "".join(parts)
        + "</svg>"
    )


def _bars(table: Table, rows: Sequence[Row], columns: Sequence[str]) -> str:
    thick, gap = 9, 10
    step = thick * len(columns) + gap
    height = 20 + step * len(rows)
    parts = _axis(height)
    for i, row in enumerate(rows):
        top = 20 + i * step
        weight = "600" if row.level != "group" else "400"
        middle = top + thick * len(columns) / 2 + 4
        parts.append(
            f'<text x="{_LEFT - 10}" y="{middle:.0f}" text-anchor="end" style="font-weight:{weight}">'
            f"{escape(row.title)}</text>"
        )
        for j, column in enumerate(columns):
            score = table.columns[column].get(row.name)
            if score is None:
                continue
            y, width = top + j * thick, _x(score.percent) - _LEFT
            parts.append(
                f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{thick - 2}" rx="2" '
                f'fill="var(--m{j})">{_hover(column, row, score)}</rect>'
            )
            if j == 0:
                parts.append(f'<text x="{_x(score.percent) + 5:.1f}" y="{y + 8}">{score.percent:.1f}</text>')
    return _svg(height, "Averages by family", parts)


def _dots(table: Table, rows: Sequence[Row], columns: Sequence[str]) -> str:
    step = 17
    height = 24 + step * len(rows)
    parts = _axis(height)
    group = ""
    for i, row in enumerate(rows):
        y = 26 + i * step
        if row.group != group and i:
            parts.append(f'<line x1="0" x2="{_LEFT + _WIDTH}" y1="{y - 9}" y2="{y - 9}"/>')
        group = row.group
        label = row.title if len(row.title) <= 32 else row.title[:12] + "…" + row.title[-18:]
        parts.append(f'<text x="{_LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(label)}</text>')
        for j, column in reversed(list(enumerate(columns))):
            score = table.columns[column].get(row.name)
            if score is not None:
                parts.append(
                    f'<circle cx="{_x(score.percent):.1f}" cy="{y}" r="{5.5 if j == 0 else 3.5}" '
                    f'fill="var(--m{j})">{_hover(column, row, score)}</circle>'
                )
    return _svg(height, "Scores by task", parts)


def _numbers(table: Table) -> str:
    head = "".join(f"<th>{escape(c)}</th>" for c in table.columns)
    body = []
    for row in table.rows:
        cells = []
        for column in table.columns.values():
            score = column.get(row.name)
            cells.append("" if score is None else f"{score.percent:.1f}{'' if score.whole else '*'}")
        body.append(
            f'<tr class="{row.level}"><td>{escape(row.title)}</td>' + "".join(f"<td>{c}</td>" for c in cells) + "</tr>"
        )
    return (
        f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
        "<p>* some tasks of this average were left out.</p>"
    )


def _notes(outcomes: Sequence[TaskOutcome]) -> str:
    notes = [w for o in outcomes for w in o.warnings]
    notes += [f"{o.task} left out: {o.reason}" for o in outcomes if o.state != "scored"]
    failures = [f"{o.task}: {f['side']} {f['name']}: {f['source']} {f['reason']}" for o in outcomes for f in o.failed]
    notes += failures[:50]
    if len(failures) > 50:
        notes.append(f"and {len(failures) - 50} more that could not be embedded")
    return "<h2>Notes</h2><ul>" + "".join(f"<li>{escape(n)}</li>" for n in notes) + "</ul>" if notes else ""
