"""The look of a report: light and dark as the reader's system has it, and black on white on paper."""

from __future__ import annotations

from typing import Final

_LIGHT = """
  --ground: #f6f7f9; --card: #fff; --ink: #1b2330; --soft: #5c6778; --line: #e0e5ec; --faint: #eef1f5;
  --champion: #2f6fde; --challenger: #d97a0b; --good: #1a8a4f; --bad: #c22f3a; --wait: #9a6200; --void: #8250c4;
  --path0: #2f6fde; --path1: #d97a0b; --path2: #12937f; --path3: #8250c4; --path4: #c22f3a; --path5: #5c6778;"""
_DARK = """
  --ground: #12161d; --card: #1a202a; --ink: #e6eaf0; --soft: #9aa6b8; --line: #2f3947; --faint: #222a36;
  --champion: #6ea0ff; --challenger: #f2a945; --good: #4cc38a; --bad: #ff6b76; --wait: #e6b450; --void: #b98cf0;
  --path0: #6ea0ff; --path1: #f2a945; --path2: #3fbfa8; --path3: #b98cf0; --path4: #ff6b76; --path5: #9aa6b8;"""

STYLE: Final = (
    f":root {{ color-scheme: light dark; {_LIGHT} }}\n"
    f"@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}\n"
    f"@media print {{ :root {{ color-scheme: light; {_LIGHT} --ground: #fff; }} }}\n"
    """
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 1160px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 24px; margin: 0; display: flex; gap: 10px; align-items: center; }
h2 { font-size: 18px; margin: 32px 0 10px; }
h3 { font-size: 14px; margin: 0 0 8px; }
p { margin: 4px 0; }
.soft, figcaption, small { color: var(--soft); }
small { font-size: 12px; }
.card, figure { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px; margin: 0; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(460px, 100%), 1fr)); gap: 16px; align-items: start; }
.grid > .wide, .grid > ul { grid-column: 1 / -1; }
.verdict { border-left: 6px solid var(--soft); margin-top: 18px; }
.verdict h2 { margin: 0 0 6px; font-size: 20px; line-height: 1.35; }
.verdict.good { border-left-color: var(--good); } .verdict.bad { border-left-color: var(--bad); } .verdict.wait { border-left-color: var(--wait); }
.verdict.good h2, b.good { color: var(--good); } .verdict.bad h2, b.bad { color: var(--bad); } b.wait { color: var(--wait); } b.void { color: var(--void); }
ul { margin: 0; padding-left: 20px; } ul.card { padding-left: 36px; } li { margin: 3px 0; }
.facts { display: flex; flex-wrap: wrap; gap: 8px 34px; margin: 18px 0; }
dt { color: var(--soft); font-size: 12px; } dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px; }
.tile { padding: 12px 14px; } .tile p { color: var(--soft); font-size: 12px; margin: 0; }
.tile b { display: block; font-size: 24px; line-height: 1.3; font-weight: 600; }
figcaption { font-size: 13px; margin-top: 8px; max-width: 90ch; }
figure > svg { display: block; width: 100%; height: auto; }
details { margin-top: 8px; font-size: 13px; } summary { color: var(--soft); cursor: pointer; }
details > .scroll { max-height: 360px; overflow: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
caption { text-align: left; color: var(--soft); padding-bottom: 4px; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: 12px; vertical-align: bottom; }
th, td { padding: 4px 14px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: break-word; }
tr:last-child td { border-bottom: 0; }
.num { text-align: right; white-space: nowrap; }
code, pre { font: 12px/1.45 ui-monospace, monospace; }
pre { white-space: pre-wrap; margin: 2px 0; max-height: 220px; overflow: auto; }
.worst { table-layout: fixed; } .worst th:first-child { width: 76px; } .worst th:nth-child(2) { width: 24%; } .worst td, pre { overflow-wrap: anywhere; }
.confusion { width: auto; border-collapse: separate; border-spacing: 3px; }
.confusion th, .confusion td { border: 0; padding: 6px 12px; }
.confusion td.same, .confusion td.different, .confusion td.none { text-align: right; border-radius: 6px; min-width: 74px; }
.confusion .none { background: var(--faint); }
.confusion td small { display: block; }
.confusion .same { background: color-mix(in srgb, var(--champion) var(--part), var(--card)); }
.confusion .different { background: color-mix(in srgb, var(--bad) var(--part), var(--card)); }
.shade1 { --part: 10%; } .shade2 { --part: 18%; } .shade3 { --part: 26%; } .shade4 { --part: 34%; } .shade5 { --part: 42%; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; color: var(--soft); font-size: 13px; margin: 0 0 6px; }
.swatch { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 7px; background: var(--soft); }
.swatch.champion, .swatch.same { background: var(--champion); } .swatch.challenger { background: var(--challenger); } .swatch.different { background: var(--bad); }
.steps { display: flex; flex-wrap: wrap; gap: 6px; padding: 0; margin: 8px 0; list-style: none; }
.steps li { border: 1px solid var(--line); border-radius: 6px; padding: 1px 9px; color: var(--soft); margin: 0; }
.steps .done { border-color: var(--good); color: var(--good); } .steps .now { border-color: var(--challenger); color: var(--ink); font-weight: 600; }
svg text { font: 12px system-ui, sans-serif; fill: var(--soft); }
svg .name { fill: var(--ink); } svg .name.bad { fill: var(--bad); font-weight: 600; } svg .name.all { font-weight: 600; }
svg .axis { font-size: 12px; } svg .note { font-size: 11px; }
.grid-line, svg .grid { stroke: var(--line); stroke-width: 1; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke: var(--soft); }
.line.champion { stroke: var(--champion); } .line.challenger { stroke: var(--challenger); }
.fill { fill-opacity: .2; stroke: none; } .fill.champion { fill: var(--champion); } .fill.challenger { fill: var(--challenger); }
.solid { fill: var(--soft); } .solid.champion { fill: var(--champion); fill-opacity: .75; } .solid.challenger { fill: var(--challenger); fill-opacity: .85; }
.solid.soft { fill-opacity: .6; }
.point { fill: var(--champion); fill-opacity: .45; } .point.changed { fill: var(--bad); fill-opacity: .8; }
.diagonal, .zero { stroke: var(--soft); stroke-width: 1; fill: none; } .diagonal { stroke-dasharray: 2 4; }
.threshold { stroke: var(--ink); stroke-width: 1.2; stroke-dasharray: 5 4; opacity: .7; }
.limit { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 6 4; }
.whisker { stroke: var(--soft); stroke-width: 2; } .box { fill: var(--soft); }
.whisker.all { stroke: var(--ink); stroke-width: 2.5; } .box.all { fill: var(--ink); }
.whisker.bad { stroke: var(--bad); } .box.bad { fill: var(--bad); }
.bar { fill: var(--soft); rx: 3px; } .bar.good { fill: var(--good); } .bar.bad { fill: var(--bad); } .bar.wait { fill: var(--wait); } .bar.void { fill: var(--void); }
"""
    + "".join(
        f".line.path{i} {{ stroke: var(--path{i}); }} .solid.path{i}, .swatch.path{i} {{ fill: var(--path{i}); background: var(--path{i}); }}\n"
        for i in range(6)
    )
    + """
@media print {
  body { font-size: 11px; } main { max-width: none; padding: 0; }
  figure, .card { break-inside: avoid; border-color: #ccc; } h2 { break-after: avoid; } details { display: none; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
)
