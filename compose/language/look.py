"""The look of the page: light or dark as the reader's system is, nothing fetched from anywhere."""

from typing import Final

CSS: Final = """\
:root { color-scheme: light dark;
  --bg: #ffffff; --panel: #f5f6f8; --ink: #1b1f27; --soft: #5b6472; --rule: #dde1e7; --link: #1558b0;
  --shop: #6b7280; --checkout: #2563eb; --warehouse: #b45309; --payment: #0f8a5f; --on: #ffffff; }
@media (prefers-color-scheme: dark) { :root {
  --bg: #14171c; --panel: #1d2128; --ink: #e4e7ec; --soft: #9aa4b2; --rule: #313843; --link: #7fb2ff;
  --shop: #9ca3af; --checkout: #6ea0ff; --warehouse: #f0a445; --payment: #4cc796; --on: #14171c; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: .875em; }
.page { display: grid; grid-template-columns: 15rem minmax(0, 1fr); max-width: 80rem; margin: 0 auto; }
nav { position: sticky; top: 0; align-self: start; height: 100vh; overflow-y: auto; padding: 1.5rem 1rem;
  border-right: 1px solid var(--rule); font-size: .875rem; }
nav h2 { margin: 1.1rem 0 .2rem; padding: 0; border: 0; font-size: .75rem; text-transform: uppercase;
  letter-spacing: .06em; }
nav ul { list-style: none; margin: 0; padding: 0; } nav li a { display: block; padding: .1rem 0; color: var(--ink); }
main { padding: 1.5rem 2rem 4rem; min-width: 0; }
h1 { margin: 0 0 .5rem; font-size: 1.9rem; line-height: 1.2; }
h2 { margin: 3rem 0 .75rem; padding-bottom: .3rem; border-bottom: 2px solid var(--rule); font-size: 1.35rem; }
h3 { margin: 0 0 .35rem; font-size: 1.05rem; } h3 a { color: inherit; }
p { margin: .4rem 0 .8rem; max-width: 48rem; } .soft { color: var(--soft); }
h2.shop, h2.checkout, h2.warehouse, h2.payment { border-color: var(--hue); }
nav h2.shop, nav h2.checkout, nav h2.warehouse, nav h2.payment, .who { color: var(--hue); }
.shop { --hue: var(--shop); } .checkout { --hue: var(--checkout); }
.warehouse { --hue: var(--warehouse); } .payment { --hue: var(--payment); }
.who { font-weight: 600; }
article { margin: 1.25rem 0; padding: 1rem 1.25rem; background: var(--panel); border-left: 4px solid var(--hue);
  border-radius: 6px; }
article:target { outline: 2px solid var(--hue); }
.badge { display: inline-block; margin-left: .5rem; padding: 0 .5rem; border-radius: 1rem; background: var(--hue);
  color: var(--on); font: 600 .75rem/1.5 system-ui, sans-serif; vertical-align: middle; }
.wide, figure { overflow-x: auto; }
table { width: 100%; margin: .6rem 0; border-collapse: collapse; font-size: .9rem; }
th { color: var(--soft); font-weight: 600; text-align: left; }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
td.field { white-space: nowrap; width: 13rem; } td.kind { width: 12rem; color: var(--soft); }
td.hears { width: 8rem; } td.says { width: 19rem; }
details { margin: .6rem 0 0; } summary { cursor: pointer; color: var(--link); font-size: .9rem; }
pre { margin: .5rem 0 0; padding: .8rem 1rem; overflow-x: auto; background: var(--bg); border: 1px solid var(--rule);
  border-radius: 6px; line-height: 1.4; }
figure { margin: 1rem 0 1.75rem; } figcaption { margin-bottom: .4rem; color: var(--soft); font-size: .9rem; }
svg { display: block; width: 100%; min-width: 40rem; height: auto; font: 13px system-ui, sans-serif; }
svg a:hover .name, svg a:hover .by-itself { text-decoration: underline; }
.lane { stroke: var(--rule); stroke-width: 2; stroke-dasharray: 3 5; }
.head { fill: var(--hue); } .head-text { fill: var(--on); text-anchor: middle; font-weight: 600; font-size: 14px; }
.arrow { stroke: var(--hue); stroke-width: 2; } .tip, .dot { fill: var(--hue); }
.name, .by-itself { fill: var(--ink); paint-order: stroke; stroke: var(--bg); stroke-width: 5px;
  stroke-linejoin: round; }
.name { text-anchor: middle; } .name.end { font-weight: 700; }
.clock { fill: var(--bg); stroke: var(--hue); stroke-width: 2; } .hands { fill: none; stroke: var(--hue);
  stroke-width: 1.5; }
@media (max-width: 60rem) { .page { display: block; }
  nav { position: static; height: auto; border-right: 0; border-bottom: 1px solid var(--rule); columns: 2; }
  main { padding: 1.25rem; } }
@media print { nav { display: none; } .page { display: block; } article { break-inside: avoid; } }
"""
