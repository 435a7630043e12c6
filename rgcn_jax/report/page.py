"""HTML page of a report: style, script and assembly of the sections. The page makes no network requests."""

import html
from collections.abc import Iterable, Sequence

from rgcn_jax.errors import printable

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d1f21; --soft: #626870; --line: #dfe2e6; --card: #f7f8fa;
  --accent: #2f6fc4; --yes: #1a7f37; --no: #cf222e }
@media (prefers-color-scheme: dark) { :root { --paper: #14161a; --ink: #e6e8ea; --soft: #9aa0a8; --line: #31353b;
  --card: #1b1e23; --accent: #6ea8f0; --yes: #3fb950; --no: #f85149 } }
* { box-sizing: border-box }
html { scroll-behavior: smooth; scroll-padding-top: 3.4rem }
body { font: 15px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; margin: 0; background: var(--paper);
  color: var(--ink); overflow-wrap: anywhere }
body > header, main { max-width: 1440px; margin: 0 auto; padding: 0 clamp(.8rem, 3vw, 2.5rem) }
body > header { padding-top: 1.6rem } main { padding-bottom: 4rem }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .2rem } h2 { font-size: 1.2rem; margin: 2.6rem 0 .7rem }
p { max-width: 78ch; margin: .5rem 0 } .soft { color: var(--soft) }
nav { position: sticky; top: 0; z-index: 2; background: var(--paper); border-bottom: 1px solid var(--line);
  overflow-x: auto; white-space: nowrap; margin-top: .8rem }
nav > div { max-width: 1440px; margin: 0 auto; padding: .55rem clamp(.8rem, 3vw, 2.5rem) }
nav a { margin-right: 1.3em; color: var(--soft); text-decoration: none } nav a:hover { color: var(--accent) }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; align-items: stretch; margin-bottom: 1rem }
.charts img { max-width: 100%; border-radius: 4px; display: block }
.charts > figure { margin: 0; flex: 0 1 auto; min-width: 0; max-width: 100%; padding: .7rem .8rem;
  background: var(--card); border: 1px solid var(--line); border-radius: 8px }
.charts > figure > div { overflow-x: auto }
figcaption { color: var(--soft); font-size: .85rem; max-width: 70ch }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .32rem .8rem; border-bottom: 1px solid var(--line); white-space: nowrap }
th:first-child, td:first-child, th.text, td.text { text-align: left } th { font-weight: 600; color: var(--soft) }
.filters { display: flex; flex-wrap: wrap; gap: .6rem 1.2rem; margin: .8rem 0; align-items: baseline }
select { font: inherit; max-width: 100%; padding: .15rem .3rem; color: inherit; background: var(--card);
  border: 1px solid var(--line); border-radius: 5px }
.query { border: 1px solid var(--line); border-radius: 8px; padding: .8rem; margin: .9rem 0; background: var(--card) }
.query > header { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; align-items: baseline; margin-bottom: .3rem }
.gain { font-weight: 600 } .gain.up { color: var(--yes) } .gain.down { color: var(--no) }
.list { display: flex; gap: 6px; overflow-x: auto; padding: .25rem 0; align-items: flex-start }
.list > span { flex: 0 0 6.2em; font-size: .85rem } .hit { margin: 0; flex: none; font-size: .72rem; line-height: 1.3 }
.strip { background-size: 100% 100%; border: 3px solid var(--soft); border-radius: 4px }
.yes .strip { border-color: var(--yes) } .no .strip { border-color: var(--no) }
.yes b { color: var(--yes) } .no b { color: var(--no) }
.provenance td { white-space: normal; font-size: .85rem; min-width: 7em }
[hidden] { display: none }
"""

SCRIPT = """
const dark = matchMedia("(prefers-color-scheme: dark)");
const drawn = [...document.querySelectorAll(".chart")];
for (const chart of drawn) {
  const { data, layout } = JSON.parse(chart.dataset.figure);
  Object.assign(layout, { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true });
  layout.font = { family: "system-ui, sans-serif", size: 12, color: getComputedStyle(document.body).color };
  Plotly.newPlot(chart, data, layout, { displayModeBar: false, responsive: true });
}
dark.onchange = () => {
  for (const chart of drawn) Plotly.relayout(chart, { "font.color": getComputedStyle(document.body).color });
};
const lists = document.getElementById("lists");
if (lists) {
  const cards = [...lists.children];
  const [order, camera, pair, which] = ["order", "camera", "pair", "which"].map(id => document.getElementById(id));
  const update = () => {
    const number = card => Number(card.dataset[order.value === "camera" ? "camera" : "gain"]);
    const sign = order.value === "gain" ? -1 : 1;
    cards.sort((a, b) => sign * (number(a) - number(b)));
    for (const card of cards) {
      const gain = Number(card.dataset.gain);
      card.hidden = (camera.value !== "" && card.dataset.camera !== camera.value)
        || (pair.value !== "" && card.dataset.pair !== pair.value)
        || (which.value === "gains" && gain <= 0) || (which.value === "losses" && gain >= 0);
      lists.append(card);
    }
    document.getElementById("shown").textContent = cards.filter(card => !card.hidden).length;
  };
  for (const choice of [order, camera, pair, which]) choice.onchange = update;
  update();
}
"""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""Content security policy: the browser blocks all network requests of the page."""


def text(value: object) -> str:
    """Escape any value as HTML text; control characters become their numbers."""
    return html.escape(printable(str(value)))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """HTML table of plain texts, which are escaped."""
    head = "".join(f"<th>{text(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def chart_row(*figures: tuple[str, str]) -> str:
    """HTML of charts with their captions."""
    shown = "".join(
        f"<figure><div>{element}</div><figcaption>{text(caption)}</figcaption></figure>" for element, caption in figures
    )
    return f'<div class="charts">{shown}</div>'


def section(anchor: str, title: str, *parts: str) -> str:
    """HTML section with a heading."""
    body = "\n".join(part for part in parts if part)
    return f'<section id="{anchor}"><h2>{text(title)}</h2>\n{body}</section>'


def page(title: str, about: str, sections: Sequence[tuple[str, str, str]], style: str = "", library: str = "") -> str:
    """Assemble the whole page.

    ``about``: HTML below the title. ``sections``: (anchor, title, HTML). ``style``: additional CSS, such as the images.
    ``library``: JavaScript library that the page's script uses.
    """
    links = "".join(f'<a href="#{anchor}">{text(name)}</a>' for anchor, name, _ in sections)
    body = "\n".join(content for _, _, content in sections)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}{style}</style></head><body>\n"
        f"<header><h1>{text(title)}</h1>\n{about}</header>\n<nav><div>{links}</div></nav>\n<main>{body}</main>\n"
        f"<script>{library}</script>\n<script>{SCRIPT}</script></body></html>\n"
    )
