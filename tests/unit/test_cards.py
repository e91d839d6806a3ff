"""Card numbers are found in whatever way they are written, and what only looks like one is left alone."""

import random
from typing import Final
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from schemas.cards import has_card_number, masked, masked_bytes

# test numbers of the networks: https://docs.stripe.com/testing
NUMBERS: Final = {
    "Visa": "4242424242424242",
    "Visa debit": "4000056655665556",
    "Visa of 13 digits": "4222222222222",
    "Mastercard": "5555555555554444",
    "Mastercard of the second series": "2223003122003222",
    "the last of the second series": "2720990000000007",
    "American Express": "378282246310005",
    "Diners Club": "3056930009020004",
    "Diners Club of 14 digits": "38520000023237",
    "Discover": "6011111111111117",
    "JCB": "3566002020360505",
    "UnionPay": "6200000000000005",
    "UnionPay of 19 digits": "6205500000000000004",
    "Maestro of 19 digits": "6304000000000000000",
}
CARD: Final = "4242424242424242"


def of_script(zero: int) -> str:
    """The card number in the digits that begin at this code point."""
    return "".join(chr(zero + int(digit)) for digit in CARD)


WRITTEN: Final = {
    "bare": CARD,
    "in fours": "4242 4242 4242 4242",
    "with dashes": "4242-4242-4242-4242",
    "with dots": "4242.4242.4242.4242",
    "with underscores": "4242_4242_4242_4242",
    "mixed": "4242-4242 4242.4242",
    "digit by digit": " ".join(CARD),
    "in odd groups": "42 424 242424-24.242",
    "behind a word": f"order-{CARD}",
    "without a space before it": f"card{CARD}",
    "without a space behind it": f"{CARD}x",
    "behind another number": f"12 {CARD}",
    "behind a number in groups": "12 4242 4242 4242 4242",
    "before another number": "4242 4242 4242 4242 12/27",
    "between quotes": f'{{"card": "{CARD}"}}',
    "full width": of_script(0xFF10),
    "full width in groups": "\u3000".join([of_script(0xFF10)[:4]] * 4),
    "Arabic": of_script(0x0660),
    "Devanagari": of_script(0x0966),
    "mathematical": of_script(0x1D7CE),
    "circled": of_script(0x245F),
    "mixed scripts": f"4242{of_script(0xFF10)[:4]}{of_script(0x0660)[:4]}4242",
    "hard spaces": "4242\u00a04242\u00a04242\u00a04242",
    "thin spaces": "4242\u20094242\u20094242\u20094242",
    "zero width": "4242\u200b4242\u200b4242\u200b4242",
    "soft hyphens": "4242\u00ad4242\u00ad4242\u00ad4242",
    "en dashes": "4242\u20134242\u20134242\u20134242",
    "beside a UUID": f"{CARD} 0192d3b4-7c1e-7a3f-8a44-0d2f3c5b6a79",
    "behind a UUID": f"0192d3b4-7c1e-7a3f-8a44-0d2f3c5b6a79-{CARD}",
    "two of them": f"{CARD},5555555555554444",
}
INNOCENT: Final = {
    "nothing": "",
    "a word": "customer-12",
    "wrong by one": "4242424242424241",
    "12 digits": "424242424242",
    "20 digits": "42424242424242424242",
    "of no bank": "1111111111111117",
    "begins with 0": "0000000000000000",
    "begins with 9": "9111111111111111",
    "a day and an hour": "2026-11-29 123456",
    "a day and a number": "20261129-0000003",
    "an instant": "2026-11-29T10:42:42.424242Z",
    "microseconds": "1764412345678901",
    "nanoseconds": "1764412345678901234",
    "two separators": "4242  4242  4242  4242",
    "commas": "4242,4242,4242,4242",
    "words between": "4242 and 4242 and 4242 and 4242",
    "a UUID of digits": "42424242-4242-4242-4242-424242424242",
    "a UUID behind a letter": "t42424242-4242-4242-4242-424242424242",
    "a digest": "42424242424242420000000000000000000000ab",
    "a trace": "00-4242424242424242a000000000000000-4242424242424ab2-01",
    "a trace whose span has digits alone": "00-00000070000000000000000000004242-5187910867404075-01",
    "Stripe's id": "pi_3MtwBwLkdIwHu7ix28a3tqPa",
}


@pytest.mark.parametrize("number", NUMBERS.values(), ids=NUMBERS)
def test_a_card_of_every_network_is_found(number: str) -> None:
    assert has_card_number(number)
    assert masked(number) == f"[card number removed, ends {number[-4:]}]"
    assert masked_bytes(number.encode()) == b"*" * (len(number) - 4) + number[-4:].encode()


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
def test_a_card_number_is_found_however_it_is_written(text: str) -> None:
    assert has_card_number(text)
    assert not has_card_number(masked(text))
    assert "[card number removed, ends 4242]" in masked(text)
    raw = masked_bytes(text.encode())
    assert len(raw) == len(text.encode())
    assert not has_card_number(raw.decode())


@pytest.mark.parametrize("text", INNOCENT.values(), ids=INNOCENT)
def test_what_only_looks_like_a_card_number_is_left_alone(text: str) -> None:
    assert not has_card_number(text)
    assert masked(text) == text
    assert masked_bytes(text.encode()) == text.encode()


def test_what_stands_round_a_card_number_is_kept() -> None:
    assert masked(f"my card {CARD} was stolen") == "my card [card number removed, ends 4242] was stolen"
    assert masked_bytes(b"\x00\xff4242-4242-4242-4242\xfe") == b"\x00\xff****-****-****-4242\xfe"
    two = masked(f"{CARD}, 5555 5555 5555 4444")
    assert two == "[card number removed, ends 4242], [card number removed, ends 4444]"


def test_numbers_that_overlap_are_one() -> None:
    text = "4242 4242 4242 4242 4242 4242"
    assert masked(text) == "[card number removed, ends 4242]"
    assert masked_bytes(text.encode()) == b"**** **** **** **** **** 4242"


def test_utf_16_is_masked_as_bytes() -> None:
    assert masked_bytes(CARD.encode("utf-16-le")) == ("*" * 12 + "4242").encode("utf-16-le")


def test_no_id_of_ours_is_ever_taken_for_a_card_number() -> None:
    chance = random.Random(4242)
    for _ in range(10_000):
        for text in (str(uuid4()), str(uuid7()), f"{chance.getrandbits(128):032x}", f"{chance.getrandbits(64):016x}"):
            assert masked(text) == text
            assert masked_bytes(text.encode()) == text.encode()


def test_ids_in_a_row_are_no_card_number() -> None:
    for n in range(2000):
        a, b = UUID(int=n * 2**96 + 0x4242), uuid4()
        text = f"00-{a.hex}-{b.hex[:16]}-01 {b} {a} checkout:{b}:auth"
        assert not has_card_number(text), text


UUIDS: Final = "0192d3b4-7c1e-7a3f-8a44-0d2f3c5b6a79"
PARTS: Final = st.sampled_from(
    [*"0123456789 -._x", "4242", CARD, "4242 4242 4242 4242", "\u0664", "\uff14", "\u200b", UUIDS]
)
TEXTS: Final = st.lists(PARTS, max_size=40).map("".join) | st.text(max_size=60)


@given(TEXTS)
def test_what_is_masked_holds_no_card_number_and_stays_as_it_is(text: str) -> None:
    once = masked(text)
    assert not has_card_number(once)
    assert masked(once) == once


@example(b"4242424242424242 4242 4242 4242 42420")
@given(TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=80))
def test_masked_bytes_are_as_long_and_differ_in_digits_only(raw: bytes) -> None:
    once = masked_bytes(raw)
    assert len(once) == len(raw)
    assert masked_bytes(once) == once
    assert not has_card_number(once.decode("utf-8", "surrogateescape"))
    assert all(new in (old, ord("*")) for old, new in zip(raw, once, strict=True))


@pytest.mark.parametrize("written", ["4242424242424242", "4242 4242 4242 4242", "378282246310005", "3782 822463 10005"])
def test_in_a_long_text_numbers_are_found_as_they_are_printed(written: str) -> None:
    text = "so long " * 1000 + written + " so long" * 1000
    assert has_card_number(text)
    assert not has_card_number(masked(text))
    assert len(masked_bytes(text.encode())) == len(text.encode())
