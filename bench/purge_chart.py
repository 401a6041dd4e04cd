"""The figures of the purges as a chart: an SVG of bars, written by hand. Pure.

Two panels: how many keys a second, and how long the slowest hundredth of a probe's requests took.
Its colours are readable on a light and on a dark page, and its background is the page's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from bench.purge_figures import FLUSH, LIMIT, OURS, PROBED, RUNBOOK, WAYS, Purges
from bench.purge_report import LABELS

WIDTH, ROW, TOP, GAP = 880, 20, 62, 34
NAMES, PANEL, BAR = 160, 350, 190  # widths: of the names, of a panel, of its longest bar
TEXT, OURS_COLOUR, OTHERS_COLOUR = "#6e7781", "#2f81f7", "#9aa4af"
FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"


@dataclass(frozen=True)
class Bar:
    """One bar: its value, what is written behind it, and whether it is ours."""

    value: float
    text: str
    ours: bool = False


Row = tuple[str, Bar | None, Bar | None]


def draw(found: Sequence[Purges]) -> str:
    """The chart of a server and a cluster, below each other."""
    groups = [(one, rows(one)) for one in found]
    most = [max((bar.value for bar in bars if bar), default=1.0) for bars in _columns(groups)]
    height = TOP + sum(len(group) * ROW + GAP for _, group in groups)
    body: list[str] = []
    y = TOP
    for one, group in groups:
        title = f"{one.target}, {one.server}, {one.sessions:,} sessions"
        body.append(_text(0, y, title, weight="600"))
        for place, row in enumerate(group, 1):
            body += _draw_row(y + place * ROW, row, most)
        y += len(group) * ROW + GAP
    head = [
        _text(NAMES, 16, "Sessions deleted in a second", weight="600"),
        _text(NAMES, 33, "in brackets: ratio to the runbook's command"),
        _text(NAMES + PANEL, 16, "Others' requests meanwhile: p99", weight="600"),
        _text(NAMES + PANEL, 33, "in brackets: ratio to the idle server"),
    ]
    start = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}" font-family="{FONT}" font-size="12" fill="{TEXT}" role="img"'
        ' aria-label="How fast and how gentle each way of deleting the sessions is">'
    )
    return "\n".join([start, *head, *body, "</svg>\n"])


def _columns(groups: Sequence[tuple[Purges, Sequence[Row]]]) -> tuple[list[Bar | None], ...]:
    shown = [row for _, group in groups for row in group]
    return [speed for _, speed, _ in shown], [wait for _, _, wait in shown]


def rows(found: Purges) -> list[Row]:
    """Each way with its two bars, and the idle server."""
    shown: list[Row] = [
        (LABELS[way], _speed(found, way), _wait(found, way)) for way in WAYS if way in found.works
    ]
    idle = found.latency(PROBED[0], idle=True)
    return (
        [*shown, ("no purge: idle", None, Bar(idle.p99, f"{idle.p99:.1f} ms"))] if idle else shown
    )


def _speed(found: Purges, way: str) -> Bar | None:
    """No bar for flush: it would be so long that no other could be seen."""
    value, ratio = found.keys_per_second(way), found.to_runbook(way)
    if value is None or way == FLUSH:
        return None
    behind = f" ({ratio:.2g} x)" if ratio and way not in {RUNBOOK, LIMIT} else ""
    return Bar(value, f"{value / 1000:,.0f} thousand{behind}", way in OURS)


def _wait(found: Purges, way: str) -> Bar | None:
    waited, ratio = found.latency(way), found.p99_to_idle(way)
    if waited is None:
        return None
    behind = f" ({ratio:.1f} x)" if ratio else ""
    return Bar(waited.p99, f"{waited.p99:.1f} ms{behind}", way in OURS)


def _draw_row(y: int, row: Row, most: Sequence[float]) -> Iterator[str]:
    name, *bars = row
    yield _text(NAMES - 8, y, name, anchor="end")
    if name == LABELS[FLUSH]:
        yield _text(NAMES + 4, y, "all at once, whatever the number")
    for place, bar in enumerate(bars):
        if bar:
            x, width = NAMES + place * PANEL, max(1.0, BAR * bar.value / most[place])
            colour = OURS_COLOUR if bar.ours else OTHERS_COLOUR
            yield f'<rect x="{x}" y="{y - 11}" width="{width:.1f}" height="14" fill="{colour}"/>'
            yield _text(x + width + 5, y, bar.text)


def _text(x: float, y: int, text: str, anchor: str = "start", weight: str = "400") -> str:
    style = f' text-anchor="{anchor}"' if anchor != "start" else ""
    style += f' font-weight="{weight}"' if weight != "400" else ""
    return f'<text x="{x:.1f}" y="{y}"{style}>{escape(text)}</text>'
