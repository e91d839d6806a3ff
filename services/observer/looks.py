"""How the pages look and move: one style sheet, one script, nothing from elsewhere."""

from base64 import b64encode
from hashlib import sha256
from typing import Final

STYLE: Final = """
:root { color-scheme: light dark;
  --bg: light-dark(#f6f7f9, #12151a); --card: light-dark(#fff, #1a1f27); --ink: light-dark(#1b2230, #e6eaf0);
  --soft: light-dark(#637083, #93a0b4); --line: light-dark(#e3e7ee, #2a313d); --hover: light-dark(#f0f3f8, #212835);
  --blue: light-dark(#1d5fd0, #74a9ff); --green: light-dark(#12784a, #55cf95); --red: light-dark(#c02434, #ff7b86);
  --amber: light-dark(#955f00, #f0b35a); --violet: light-dark(#6c3fc5, #b597ff); }
* { box-sizing: border-box }
body { margin: 0; background: var(--bg); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
main, header { max-width: 1180px; margin: 0 auto; padding: 0 20px }
header { display: flex; flex-wrap: wrap; gap: 8px 20px; align-items: center; padding-top: 18px; padding-bottom: 14px }
header .home { font-weight: 650; font-size: 17px; color: var(--ink) }
header .where { color: var(--soft); font-size: 13px; flex: 1 }
a { color: var(--blue); text-decoration: none } a:hover { text-decoration: underline }
h1 { font-size: 22px; margin: 6px 0 2px; overflow-wrap: anywhere }
h2 { font-size: 12px; letter-spacing: .06em; text-transform: uppercase; color: var(--soft); margin: 0 0 10px }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px }
.grid { display: grid; gap: 14px; grid-template-columns: repeat(12, 1fr) }
.grid > * { grid-column: span 12; margin: 0; min-width: 0; align-self: start }
@media (min-width: 860px) { .column { grid-column: span 7 } .side { grid-column: span 5 } }
.column { display: grid; gap: 14px; grid-template-columns: minmax(0, 1fr) }
.tiles { display: grid; gap: 10px; grid-template-columns: repeat(auto-fit, minmax(110px, 1fr)) }
.tile { border: 1px solid var(--line); border-radius: 10px; padding: 10px 12px; border-left: 4px solid var(--tone) }
.tile b { display: block; font-size: 24px; line-height: 1.2; font-variant-numeric: tabular-nums }
.tile span { color: var(--soft); font-size: 12.5px; line-height: 1.3; display: block }
.none { opacity: .45 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th { text-align: left; font-weight: 500; color: var(--soft); font-size: 13px; padding: 0 14px 6px 0 }
td { padding: 6px 14px 6px 0; border-top: 1px solid var(--line); vertical-align: top }
.num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
th:last-child, td:last-child { padding-right: 0 }
.tag { display: inline-block; border-radius: 999px; padding: 1px 9px; font-size: 12.5px; font-weight: 550;
  white-space: nowrap; color: var(--tone); background: color-mix(in srgb, var(--tone) 13%, transparent) }
.mono { font-family: ui-monospace, monospace; font-size: 12.5px; color: var(--soft); overflow-wrap: anywhere }
.soft { color: var(--soft) } .empty { color: var(--soft); margin: 0 }
.alarm { border-color: var(--red); border-left: 5px solid var(--red); margin-bottom: 14px }
.alarm h2 { color: var(--red) } .calm { border-left: 5px solid var(--green); margin-bottom: 14px }
.alarm ul { list-style: none; margin: 0; padding: 0 }
.alarm li { padding: 8px 0; border-top: 1px solid var(--line) }
.alarm li:first-child { border-top: 0; padding-top: 0 }
.alarm strong { color: var(--red); margin-right: 6px }
.bar { height: 6px; border-radius: 3px; background: var(--line); margin-top: 5px; overflow: hidden }
.rate { margin-bottom: 10px } .rate .line { flex-wrap: nowrap; align-items: center }
.rate .code { font-size: 13.5px; overflow-wrap: anywhere }
.bar i { display: block; height: 100%; background: var(--tone) }
form { display: flex; gap: 8px } input, button { font: inherit; border: 1px solid var(--line); border-radius: 8px;
  padding: 5px 10px; background: var(--card); color: var(--ink); min-width: 0 }
button { cursor: pointer } footer { color: var(--soft); font-size: 13px; padding: 18px 0 34px }
.events { list-style: none; margin: 18px 0 0; padding: 0 }
.events > li { position: relative; padding: 0 0 16px 26px }
.events > li::before { content: ""; position: absolute; left: 5px; top: 12px; bottom: -12px; width: 2px;
  background: var(--line) }
.events > li:last-child::before { display: none }
.events > li::after { content: ""; position: absolute; left: 0; top: 9px; width: 12px; height: 12px; border-radius: 50%;
  background: var(--tone); box-shadow: 0 0 0 3px var(--bg) }
.events .card { padding: 10px 14px }
.events .card.fault { border-color: var(--red); box-shadow: 0 0 0 1px var(--red) }
.line { display: flex; flex-wrap: wrap; gap: 4px 12px; align-items: baseline }
.line .name { font-weight: 600 } .line .push { margin-left: auto; color: var(--soft); font-size: 13px;
  font-variant-numeric: tabular-nums }
dl { display: flex; flex-wrap: wrap; gap: 2px 20px; margin: 6px 0 4px } dl div { display: flex; gap: 7px; min-width: 0 }
dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
.shop, .requested, .cancelled_first, .unknown { --tone: var(--soft) }
.checkout, .accepted, .authorized, .capture_pending { --tone: var(--blue) }
.warehouse, .capture_failed, .failed { --tone: var(--amber) }
.payment, .compensated { --tone: var(--violet) }
.captured, .completed { --tone: var(--green) } .refused { --tone: var(--soft) } .bad { --tone: var(--red) }
"""

SCRIPT: Final = """
const EVERY_MS = 2000, ORDER = ['requested', 'accepted', 'authorized', 'capture_pending', 'capture_failed', 'captured',
  'failed', 'compensated', 'refused', 'cancelled_first', 'unknown'];
const RARE = ['capture_failed', 'cancelled_first', 'unknown'];
const at = id => document.getElementById(id);
function el(tag, options = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) made.setAttribute(name, value);
  made.append(...children.filter(child => child !== null));
  return made;
}
const fill = (id, ...children) => at(id).replaceChildren(...children);
const words = text => text.replaceAll('_', ' ');
const tag = (text, tone) => el('span', {class: 'tag ' + tone}, words(text));
const link = id => el('a', {href: '/checkouts/' + encodeURIComponent(id)}, id);
const empty = text => el('p', {class: 'empty'}, text);
const thousands = n => n.toLocaleString('en');
function took(s) {
  if (s === null) return '-';
  if (s < 1) return Math.round(s * 1000) + ' ms';
  if (s < 120) return s.toFixed(s < 10 ? 1 : 0) + ' s';
  return s < 7200 ? Math.round(s / 60) + ' min' : (s / 3600).toFixed(1) + ' h';
}
function table(heads, rows) {
  const cells = (row, kind) => el('tr', {}, ...row.map((cell, n) =>
    el(kind, heads[n].startsWith('#') ? {class: 'num'} : {}, cell)));
  return el('div', {class: 'scroll'}, el('table', {},
    el('thead', {}, cells(heads.map(head => head.replace('#', '')), 'th')),
    el('tbody', {}, ...rows.map(row => cells(row, 'td')))));
}
function breaches(view) {
  const box = at('breaches');
  box.className = view.breaches_total ? 'card alarm' : 'card calm';
  if (!view.breaches_total)
    return fill('breaches', 'No breach: money and goods add up in everything that was heard.');
  const many = view.breaches_total === 1 ? '1 breach' : view.breaches_total + ' breaches';
  fill('breaches', el('h2', {}, many), el('ul', {}, ...view.breaches.map(each => el('li', {},
    el('div', {}, el('strong', {}, words(each.rule)), link(each.checkout_id), ': ' + each.what),
    el('div', {class: 'mono'}, each.event + ' ' + each.event_id + ' · ' + each.topic + ' [' + each.partition + '] @ '
      + each.offset)))));
}
function states(view) {
  const shown = ORDER.filter(state => view.states[state] || !RARE.includes(state));
  fill('states', ...shown.map(state => el('div', {class: 'tile ' + state + (view.states[state] ? '' : ' none')},
    el('b', {}, thousands(view.states[state] || 0)), el('span', {}, words(state)))));
}
function rates(view) {
  if (!view.rates.length) return fill('rates', empty('Nothing ended in the last minute.'));
  const most = Math.max(...view.rates.map(rate => rate.per_minute));
  fill('rates', ...view.rates.map(rate => {
    const bar = el('i'); bar.style.width = 100 * rate.per_minute / most + '%';
    return el('div', {class: 'rate ' + (rate.outcome === 'completed' ? 'completed' : 'failed')},
      el('div', {class: 'line'}, tag(rate.outcome, ''), el('span', {class: 'code'}, rate.code),
        el('span', {class: 'push'}, thousands(rate.per_minute))), el('div', {class: 'bar'}, bar));
  }));
}
function steps(view) {
  if (!view.steps.length) return fill('steps', empty('No step was taken in the last five minutes.'));
  fill('steps', table(['step', 'by', '#p50', '#p99', '#limit', '#count'], view.steps.map(step => [words(step.step),
    tag(step.service, step.service), took(step.p50_s), took(step.p99_s), took(step.deadline_s),
    thousands(step.count)])));
}
function rows(id, list, total, none, clock, now) {
  if (!list.length) return fill(id, empty(none));
  const more = total > list.length ? empty('… and ' + thousands(total - list.length) + ' more') : '';
  fill(id, table(['checkout', 'state', '#' + clock], list.map(row => [link(row.checkout_id),
    el('span', {}, tag(row.state, row.state), row.code ? el('span', {class: 'soft'}, ' ' + row.code) : ''),
    took(Math.max(0, now - (clock === 'for' ? row.since : row.last)))])), more);
}
function show(view) {
  const behind = view.heard_until === null ? 'still reading the topics: nothing is judged as missing yet'
    : 'complete until ' + took(Math.max(0, view.now - view.heard_until)) + ' ago';
  const missing = view.missing.length ? ' · does not answer: ' + view.missing.join(', ') : '';
  fill('where', view.shows + ' · ' + behind + missing);
  breaches(view); states(view); rates(view); steps(view);
  rows('stuck', view.stuck, view.stuck_total, 'No checkout is past its limit.', 'for', view.now);
  rows('recent', view.recent, 0, 'No checkout yet.', 'ago', view.now);
}
async function turn() {
  try {
    const answer = await fetch('/live?format=json', {cache: 'no-store'});
    if (!answer.ok) throw new Error('it answers ' + answer.status);
    show(await answer.json());
    document.body.style.opacity = 1;
  } catch (fault) {
    fill('where', 'the observer does not answer: what you see is old (' + fault.message + ')');
    document.body.style.opacity = .55;
  }
  setTimeout(turn, EVERY_MS);
}
turn();
"""


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {_hash(STYLE)}; script-src {_hash(SCRIPT)}; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Only this style and this script run on a page, whatever an event may contain."""
