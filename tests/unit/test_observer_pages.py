"""The pages: what an event contains is text, never markup, and nothing runs on them but their own script."""

import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any, Final

from schemas.events import CheckoutCancelRequested
from services.observer.detail import checkout_view
from services.observer.index import Breach
from services.observer.looks import HEADERS, SCRIPT, STYLE
from services.observer.overview import breach_view
from services.observer.pages import checkout_page, live_page, message_page
from services.observer.rules import findings
from services.observer.timeline import Timeline, add
from tests.unit import making as m
from tests.unit.telling import CAPTURED, COMPENSATED, LIMITS, said, told

PLACE: Final = {"url": "http://127.0.0.1:6066", "partition": 1, "of": 6}
EVIL: Final = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"


class Tags(HTMLParser):
    """Counts tags and collects text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(timeline: Timeline, **more: Any) -> str:
    broken = [breach_view(Breach(timeline.checkout_id, each), "p.") for each in findings(timeline, LIMITS)]
    return checkout_page(checkout_view(timeline, broken, "p.", PLACE) | more)


def test_what_an_event_contains_is_shown_and_does_nothing() -> None:
    wish = said(CheckoutCancelRequested(checkout_id=m.ID, reason=EVIL), 3)
    evil = replace(m.RELEASED, outcome=EVIL)
    timeline = add(add(told(*CAPTURED), wish), said(evil, 20)._replace(event_id=EVIL, trace_id=EVIL))
    page = Tags(page_of(timeline))
    assert "img" not in page.tags
    assert "script" not in page.tags
    assert page.handlers == []
    assert page.text.count(EVIL) >= 3


def test_what_is_said_to_people_is_escaped() -> None:
    page = Tags(message_page(EVIL, EVIL))
    assert (page.tags.count("script"), page.tags.count("img")) == (0, 0)


def test_the_timeline_names_events_services_amounts_and_places() -> None:
    page = Tags(page_of(told(*CAPTURED))).text
    for words in ("payment.captured", "2,500 EUR", "2 of cup", "p.payment.captured [1] @ 6", "captured", "+6.0 s"):
        assert words in page, words
    assert "has not answered" not in page


def test_a_breach_stands_above_the_timeline_and_marks_its_event() -> None:
    page = page_of(told(*CAPTURED, m.FAILED))
    assert page.index("ended 2 times") < page.index("warehouse.confirmed")
    assert page.count('class="card fault"') == 1


def test_a_page_says_what_is_waited_for_and_loads_itself_until_it_comes() -> None:
    assert 'http-equiv="refresh"' in page_of(told(*COMPENSATED[:5]))
    assert "payment has not answered checkout.failed yet (undo)" in " ".join(
        Tags(page_of(told(*COMPENSATED[:5]))).text.split()
    )
    assert 'http-equiv="refresh"' not in page_of(told(*COMPENSATED))


def test_only_the_pages_own_style_and_script_are_let_in() -> None:
    policy, page = HEADERS["Content-Security-Policy"], live_page()
    for kind, text in (("script", SCRIPT), ("style", STYLE)):
        [inline] = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        assert inline == text
        assert b64encode(sha256(inline.encode()).digest()).decode() in policy
    assert "unsafe" not in policy


def test_the_live_page_needs_nothing_from_elsewhere() -> None:
    assert not re.findall(r"https?://|src=|@import|url\(", live_page())
    assert "innerHTML" not in SCRIPT
