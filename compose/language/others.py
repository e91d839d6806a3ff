"""What the page says beside the events: why a checkout fails, the headers, dead letters, and how topics are kept."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Final

from compose.language import dead_letters
from compose.language.bindings import channel_binding
from compose.language.headers import AUDIT, EVENT, LEDGER, LETTER, REPLAY, Property
from compose.language.tables import code, row, table
from schemas.choreography import topics
from schemas.failures import Code, entry_of

_DAY_MS: Final = 24 * 3600 * 1000
_KIB: Final = 1024


def reasons_to_fail() -> Iterator[str]:
    """The codes of checkout.failed."""
    yield '<h2 id="codes">Why a checkout fails</h2>'
    yield (
        "<p>The <code>code</code> of <code>checkout.failed</code> is stable. <code>error_class</code> says who can do "
        "something about it, <code>retryable</code> whether the same basket may succeed as a new checkout, and "
        "<code>message</code> is what the customer can be shown.</p>"
    )
    yield table(("code", "class", "again", "what the customer reads"), (_reason(reason) for reason in Code))


def _reason(reason: Code) -> str:
    entry = entry_of(reason)
    again = "yes" if entry.retryable else "no"
    return row(code(reason), code(entry.error_class), again, escape(entry.customer), classes=("field",))


def beside_the_events() -> Iterator[str]:
    """Headers, dead letters, topics."""
    yield '<h2 id="headers">Headers of an event</h2>'
    yield (
        "<p>UTF-8, each name once. Services need none of them from a shop, and write all but the optional ones "
        "themselves.</p>"
    )
    yield _properties(EVENT)
    yield '<h2 id="letters">Dead letters</h2>'
    yield (
        f"<p>{_about('deadLetter')} They lie on <code>&lt;service&gt;.dlq</code>. {_about('replay')} It goes to "
        "<code>&lt;service&gt;.retry</code> and has the headers that are marked with *.</p>"
    )
    yield _properties({name + (" *" if name in REPLAY else ""): about for name, about in LETTER.items()})
    yield "<h3>The ledger</h3>"
    yield (
        "<p><code>dlq.ledger</code>, key <code>&lt;service&gt;/&lt;letter id&gt;</code>, JSON. "
        f"{_about('ledgerEntry')}</p>"
    )
    yield _names(LEDGER)
    yield f"<h3>The audit</h3><p><code>dlq.audit</code>, JSON, never deleted. {_about('deed')}</p>"
    yield _names(AUDIT)
    yield '<h2 id="topics">Topics</h2>'
    yield "<p>As <code>checkout setup</code> makes them. All names may have a prefix (<code>TOPIC_PREFIX</code>).</p>"
    heads = ("topic", "partitions", "cleanup", "kept", "largest message")
    yield table(heads, (_topic(topic) for topic in (*topics(), *dead_letters.TOPICS)))


def _about(message: str) -> str:
    return escape(dead_letters.ABOUT[message])


def _properties(described: Mapping[str, Property]) -> str:
    return table(
        ("header", "what it is"), (row(code(name), _words(of), classes=("field",)) for name, of in described.items())
    )


def _words(of: Property) -> str:
    values = f" One of {', '.join(code(value) for value in of['enum'])}." if "enum" in of else ""
    return escape(of["description"]) + values


def _names(described: Mapping[str, str]) -> str:
    return table(
        ("field", "what it is"), (row(code(n), escape(what), classes=("field",)) for n, what in described.items())
    )


def _topic(topic: str) -> str:
    bound = channel_binding(topic)
    config = bound["topicConfiguration"]
    days = config["retention.ms"] // _DAY_MS
    kept = f"{days} days" if days >= 0 else "for ever"
    largest = f"{config['max.message.bytes'] // _KIB:,} KiB"
    return row(code(topic), str(bound["partitions"]), config["cleanup.policy"][0], kept, largest, classes=("field",))
