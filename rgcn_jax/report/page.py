"""The page of a report: its style, its script and how sections are put together. No request leaves it."""

import html
from collections.abc import Iterable, Sequence

from rgcn_jax.errors import printable

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d1f21; --soft: #6b7075; --line: #d9dce0; --card: #f6f7f8;
  --yes: #1a7f37; --no: #cf222e }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e6e8ea; --soft: #9aa0a6; --line: #34383d;
  --card: #1e2125; --yes: #3fb950; --no: #f85149 } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1.5rem clamp(.8rem, 3vw, 3rem) 4rem;
  max-width: 1500px; background: var(--paper); color: var(--ink); overflow-wrap: anywhere }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem } p { max-width: 75ch }
.soft { color: var(--soft) } nav a { margin-right: 1em; color: inherit; display: inline-block }
.charts { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; margin-bottom: 1.2rem }
.charts img { max-width: 100% }
.charts > figure { margin: 0; flex: 0 1 auto; min-width: 0; max-width: 100%;
  overflow-x: auto }
figcaption { color: var(--soft); font-size: .85rem }
svg.chart { max-width: 100%; height: auto; display: block } svg.panels { min-width: 38rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .25rem .7rem; border-bottom: 1px solid var(--line); white-space: nowrap }
th:first-child, td:first-child, th.text, td.text { text-align: left } th { font-weight: 600 }
.filters { display: flex; flex-wrap: wrap; gap: 1rem; margin: .6rem 0 } select { font: inherit; max-width: 100% }
.query { border: 1px solid var(--line); border-radius: 6px; padding: .7rem; margin: .8rem 0; background: var(--card) }
.query > header { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; align-items: baseline }
.list { display: flex; gap: 6px; overflow-x: auto; padding: .25rem 0; align-items: flex-start }
.list > span { flex: 0 0 6.5em; font-size: .85rem } .hit { margin: 0; flex: none; font-size: .72rem; line-height: 1.2 }
.strip { background-size: 100% 100%; border: 3px solid var(--line) } .yes .strip { border-color: var(--yes) }
.no .strip { border-color: var(--no) } .yes b { color: var(--yes) } .no b { color: var(--no) }
.provenance td { white-space: normal; font-size: .85rem; min-width: 7em }
[hidden] { display: none }
"""

SCRIPT = """
const lists = document.getElementById("lists");
if (lists) {
  const cards = [...lists.children];
  const order = document.getElementById("order"), camera = document.getElementById("camera");
  const update = () => {
    const key = order.value, sign = key === "loss" ? 1 : -1, name = key === "loss" ? "gain" : key;
    const number = card => Number(card.dataset[name]);
    cards.sort((a, b) => key === "camera" ? number(a) - number(b) : sign * (number(a) - number(b)));
    for (const card of cards) {
      card.hidden = camera.value !== "" && card.dataset.camera !== camera.value;
      lists.append(card);
    }
    document.getElementById("shown").textContent = cards.filter(card => !card.hidden).length;
  };
  order.onchange = camera.onchange = update;
  update();
}
"""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def text(value: object) -> str:
    """Any value as escaped text; control characters as their numbers."""
    return html.escape(printable(str(value)))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain texts, which are escaped."""
    head = "".join(f"<th>{text(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def charts(*figures: tuple[str, str]) -> str:
    """SVG elements with their captions."""
    shown = "".join(f"<figure>{svg}<figcaption>{text(caption)}</figcaption></figure>" for svg, caption in figures)
    return f'<div class="charts">{shown}</div>'


def section(anchor: str, title: str, *parts: str) -> str:
    """A section with its heading."""
    body = "\n".join(part for part in parts if part)
    return f'<section id="{anchor}"><h2>{text(title)}</h2>\n{body}</section>'


def page(title: str, about: str, sections: Sequence[tuple[str, str, str]], style: str = "") -> str:
    """The whole page.

    Args:
      title: of the page.
      about: HTML below the title.
      sections: (anchor, title, HTML) each.
      style: more CSS, such as the images.
    """
    links = "".join(f'<a href="#{anchor}">{text(name)}</a>' for anchor, name, _ in sections)
    body = "\n".join(content for _, _, content in sections)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}{style}</style></head><body>\n"
        f"<h1>{text(title)}</h1>\n{about}\n<nav>{links}</nav>\n{body}\n<script>{SCRIPT}</script></body></html>\n"
    )
