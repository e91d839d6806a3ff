"""The pages as HTML. Everything that comes from an event is escaped here, or set as text by the script."""

from html import escape
from typing import Any, Final

from services.observer.looks import SCRIPT, STYLE
from services.observer.overview import View

_FRAME: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
{head}<title>{title}</title><style>{style}</style></head>
<body><header><a class="home" href="/live">Checkouts</a><span class="where" id="where">{where}</span>
<form action="/live"><input name="id" aria-label="checkout id" placeholder="checkout id" required>
<button>Find</button></form></header>
<main>{body}</main>{script}</body></html>
"""

_LIVE: Final = """
<noscript><p class="card">This page needs JavaScript. The same as JSON:
<a href="/live?format=json">/live?format=json</a></p></noscript>
<div id="breaches" class="card calm">…</div>
<div class="grid">
<section class="card"><h2>Checkouts by state</h2><div class="tiles" id="states"></div></section>
<div class="column side">
<section class="card"><h2>Ended in the last minute</h2><div id="rates"></div></section>
<section class="card"><h2>Stuck</h2><div id="stuck"></div></section>
</div><div class="column">
<section class="card"><h2>Slowest steps, last five minutes</h2><div id="steps"></div></section>
<section class="card"><h2>Latest</h2><div id="recent"></div></section>
</div>
</div>
<footer>A view derived from the topics. <a href="/live?format=json">JSON</a> · <a href="/metrics">metrics</a></footer>
"""
_MINUTE_S: Final = 60


def live_page() -> str:
    """The overview; its script asks for the figures."""
    return _frame("Checkouts, live", "…", _LIVE, script=f"<script>{SCRIPT}</script>")


def message_page(title: str, sentence: str) -> str:
    """A page that says one thing."""
    body = f'<div class="card"><h1>{escape(title)}</h1><p>{escape(sentence)}</p></div>'
    return _frame(title, "", body)


def checkout_page(view: View) -> str:
    """The timeline of one checkout; it loads itself again as long as something is to come."""
    faults = {breach["event_id"] for breach in view["breaches"]}
    events = "".join(_event(event, event["event_id"] in faults) for event in view["events"])
    cut = '<p class="soft">There were more events than are kept.</p>' if view["cut"] else ""
    body = f'{_heading(view)}{_breaches(view)}{_waiting(view)}<ol class="events">{events}</ol>{cut}{_footer(view)}'
    head = '<meta http-equiv="refresh" content="3">' if view["waiting"] else ""
    held = view["held_by"]
    where = f"partition {held['partition']} of {held['of']}, held by {held['url']}"
    return _frame(view["checkout_id"], escape(where), body, head=head)


def _frame(title: str, where: str, body: str, *, head: str = "", script: str = "") -> str:
    return _FRAME.format(head=head, title=escape(title), style=STYLE, where=where, body=body, script=script)


def _heading(view: View) -> str:
    state = view["state"]
    amount = "" if view["total_minor"] is None else f"{escape(_money(view['total_minor'], view['currency']))} · "
    took = f" · took {_took(view['took_s'])}" if view["took_s"] is not None else ""
    code = f" {escape(view['code'])}" if view["code"] else ""
    began = escape(view["began"][:19].replace("T", " "))
    return (
        f"<h1>{escape(view['checkout_id'])}</h1><p><span class='tag {escape(state)}'>{_words(state)}</span>{code} "
        f"<span class='soft'>{amount}began {began} UTC{took}</span></p>"
    )


def _breaches(view: View) -> str:
    if not view["breaches"]:
        return ""
    rows = "".join(
        f"<li><strong>{_words(each['rule'])}</strong>{escape(each['what'])}<div class='mono'>{escape(each['event'])} "
        f"{escape(each['event_id'])}</div></li>"
        for each in view["breaches"]
    )
    return f'<div class="card alarm"><h2>Broken</h2><ul>{rows}</ul></div>'


def _waiting(view: View) -> str:
    rows = "".join(
        f"<div><span class='tag {escape(each['service'])}'>{escape(each['service'])}</span> has not answered "
        f"{escape(each['after'])} yet ({_words(each['step'])})</div>"
        for each in view["waiting"]
    )
    return f'<div class="card">{rows}</div>' if rows else ""


def _event(event: View, fault: bool) -> str:
    facts = "".join(
        f"<div><dt>{_words(name.removesuffix('_minor'))}</dt>"
        f"<dd>{escape(_fact(name, value, event['facts']))}</dd></div>"
        for name, value in event["facts"].items()
        if name != "currency" or not _has_amount(event["facts"])
    )
    trace = f" · trace {escape(event['trace_id'])}" if event["trace_id"] else ""
    place = f"{escape(event['topic'])} [{event['partition']}] @ {event['offset']}"
    said_by = escape(event["said_by"])
    return (
        f'<li class="{said_by}"><div class="card{" fault" if fault else ""}"><div class="line">'
        f'<span class="name">{escape(event["event"])}</span><span class="tag {said_by}">{said_by}</span>'
        f'<span class="push" title="{escape(event["occurred_at"])}">+{_took(event["after_s"])}</span></div>'
        f'<dl>{facts}</dl><div class="mono">{place} · {escape(event["event_id"])}{trace}</div></div></li>'
    )


def _has_amount(facts: View) -> bool:
    return "total_minor" in facts or "amount_minor" in facts


def _fact(name: str, value: Any, facts: View) -> str:
    if name in ("total_minor", "amount_minor"):
        return _money(value, facts["currency"]) if "currency" in facts else f"{_count(value)} minor units"
    if isinstance(value, dict):
        return ", ".join(f"{count} of {sku}" for sku, count in sorted(value.items())) or "none"
    if name.endswith(("_at", "_before")):
        return f"{str(value)[:19].replace('T', ' ')} UTC"
    return "yes" if value is True else "no" if value is False else str(value)


def _footer(view: View) -> str:
    steps = " · ".join(f"{_words(each['step'])} {_took(each['took_s'])}" for each in view["steps"])
    return f'<footer>{steps}<br><a href="?format=json">JSON</a></footer>'


def _money(minor: int | str, currency: str | None) -> str:
    return f"{_count(minor)} {currency or ''}, minor units"


def _count(number: int | str) -> str:
    """With thousands apart; text where the number had to be masked."""
    return f"{number:,}" if isinstance(number, int) else number


def _words(name: str) -> str:
    return escape(name.replace("_", " "))


def _took(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < _MINUTE_S else f"{seconds / _MINUTE_S:.0f} min"
