"""`docs/events.html`: the published language for people, on one page that needs nothing else."""

import json
from collections.abc import Iterable, Iterator
from html import escape
from typing import Final

from compose.language import samples
from compose.language.asyncapi import version
from compose.language.drawing import drawing
from compose.language.fields import ENVELOPE, Field, fields_of, own_fields
from compose.language.look import CSS
from compose.language.others import beside_the_events, reasons_to_fail
from compose.language.saying import SPEAKERS, causes, doc_of, listed, other_ways, said_by, way_forward
from compose.language.tables import code, row, table
from schemas.choreography import MAP, SHOP, TIMERS, Entry
from schemas.envelope import Envelope

_NOTE: Final = "<!-- Made from the map and the schemas by `checkout schemas asyncapi`: change those, not this file. -->"
_ABOUT: Final = {
    SHOP: "What a shop publishes.",
    "checkout": "Owns the checkout and its order, and says the two ends that a shop waits for.",
    "warehouse": "Owns stock and reservations.",
    "payment": "Owns payment methods and payments, and alone talks to the payment provider.",
}


def text() -> str:
    """The file."""
    return "\n".join(
        [
            "<!doctype html>",
            _NOTE,
            '<html lang="en"><head><meta charset="utf-8"><title>Checkout: the published language</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<style>\n{CSS}</style></head>",
            '<body><div class="page">',
            *_navigation(),
            "<main>",
            *_head(),
            *(part for speaker in SPEAKERS for part in _speaker(speaker)),
            *reasons_to_fail(),
            *beside_the_events(),
            "</main></div></body></html>",
            "",
        ]
    )


def _navigation() -> Iterator[str]:
    yield "<nav><strong>Checkout</strong>"
    for speaker in SPEAKERS:
        yield f'<h2 class="{speaker}">{speaker} says</h2><ul>'
        yield from (f'<li><a href="#{entry.event}">{_short(entry.event)}</a></li>' for entry in said_by(speaker))
        yield "</ul>"
    yield "<h2>And</h2><ul>"
    for anchor, title in (("codes", "why it fails"), ("headers", "headers"), ("letters", "dead letters"),
                          ("topics", "topics")):  # fmt: skip
        yield f'<li><a href="#{anchor}">{title}</a></li>'
    yield "</ul></nav>"


def _short(event: str) -> str:
    return event.replace(".", ".<wbr>")


def _head() -> Iterator[str]:
    yield "<h1>The published language of the checkout</h1>"
    yield (
        f'<p class="soft">{len(MAP)} events, version {version()}. The same for machines: '
        '<a href="../schemas/asyncapi.yaml">asyncapi.yaml</a>; publishers in other languages: '
        '<a href="../examples/README.md">examples</a>.</p>'
    )
    yield (
        f"<p>A shop publishes {_link('checkout.requested')} and waits for one of two ends, "
        f"{_link('checkout.completed')} or {_link('checkout.failed')}. Between the two, three services react to each "
        "other's events; nobody coordinates.</p>"
    )
    yield _figure("The way forward: each of these may still lead to the completion.", drawing("forward", way_forward()))
    yield _figure(
        "Other ways: refusals, delays and letting go. Clocks are what a service does by itself when time has passed.",
        drawing("other ways", other_ways(), TIMERS),
    )
    yield '<h2 id="every">Every event</h2>'
    yield (
        "<p>Its type is its topic and its Avro record; the key is the <code>checkout_id</code>, as UTF-8, "
        "placed by murmur2; the value is Avro in the Confluent wire format (<code>0x00</code>, four bytes schema id, "
        "record), subject <code>&lt;topic&gt;-value</code>. Amounts are integers in the currency's minor unit. "
        "Delivery is at least once: in order for each checkout on each topic, in any order between topics.</p>"
    )
    yield _field_table(field for field in fields_of("checkout.requested") if field.name in ENVELOPE)


def _figure(caption: str, picture: str) -> str:
    return f"<figure><figcaption>{caption}</figcaption>\n{picture}\n</figure>"


def _speaker(speaker: str) -> Iterator[str]:
    yield f'<section class="{speaker}"><h2 class="{speaker}" id="{speaker}">{speaker.capitalize()} says</h2>'
    yield f"<p>{_ABOUT[speaker]}</p>"
    for entry in said_by(speaker):
        yield from _event(entry)
    yield "</section>"


def _event(entry: Entry) -> Iterator[str]:
    end = '<span class="badge">an end</span>' if entry.ends else ""
    yield f'<article id="{entry.event}"><h3><a href="#{entry.event}"><code>{entry.event}</code></a>{end}</h3>'
    yield f"<p>{escape(doc_of(entry.event))}</p>"
    if entry.said_by != SHOP:
        yield f'<p class="soft">{_why(entry.event)}</p>'
    yield table(("heard by", "what it does", "what it says then"), _reactions(entry))
    if own_fields(entry.event):
        yield _field_table(own_fields(entry.event))
    yield from (_sample(envelope) for envelope in samples.of(entry.event))
    yield "</article>"


def _why(event: str) -> str:
    heard = [_link(cause.event) for cause in causes(event) if cause.event]
    after = [f"after {listed(heard, 'or')}"] if heard else []
    whens = [f"when {escape(cause.when)}" for cause in causes(event) if cause.when]
    return f"Said {', or '.join([*after, *whens])}."


def _reactions(entry: Entry) -> Iterator[str]:
    if entry.ends:
        yield row(_who(SHOP), "It is an end: what the shop waits for.", "", classes=("hears", "", "says"))
    for reaction in entry.heard_by:
        says = ", ".join(_link(event) for event in reaction.publishes) or "nothing"
        yield row(_who(reaction.service), escape(reaction.does), says, classes=("hears", "", "says"))


def _who(speaker: str) -> str:
    return f'<span class="who {speaker}">{speaker}</span>'


def _link(event: str) -> str:
    return f'<a href="#{event}"><code>{event}</code></a>'


def _field_table(fields: Iterable[Field]) -> str:
    return table(
        ("field", "type", "what it is"),
        (
            row(code(field.name), field.type + _default(field), escape(field.doc), classes=("field", "kind"))
            for field in fields
        ),
    )


def _default(field: Field) -> str:
    return f"; default {escape(field.default)}" if field.default else ""


def _sample(envelope: Envelope) -> str:
    shown = escape(json.dumps(samples.payload(envelope), indent=2, ensure_ascii=False), quote=False)
    return f"<details><summary>An example</summary><pre>{shown}</pre></details>"
