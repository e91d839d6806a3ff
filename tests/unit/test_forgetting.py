"""How a customer's id is found: exactly that one, whatever its characters mean to SQL or a regular expression."""

import io
import re

import fastavro
import pytest

from compose.forgetting.acting import digest_of
from compose.forgetting.names import Names, NotANameError, avro_text, checked
from compose.forgetting.topics import Kept


@pytest.mark.parametrize("text", ["", "a", "customer-1", "x" * 63, "x" * 64, "é" * 40, "x" * 9000])
def test_a_text_is_written_as_avro_writes_it(text: str) -> None:
    written = io.BytesIO()
    fastavro.schemaless_writer(written, "string", text)
    assert avro_text(text) == written.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        "customer-1",
        "of customer-1.",
        '{"customer_id":"customer-1"}',
        "KeyError: 'customer-1'",
        "customer-1: not there",
    ],
)
def test_an_id_is_found_in_a_text(content: str) -> None:
    assert Names("customer-1").within(content.encode())


@pytest.mark.parametrize(
    "content",
    ["customer-10", "acustomer-1", "customer-1:ok", "customer-1.b", "my.customer-1", "customer_1", "CUSTOMER-1"],
)
def test_another_id_is_not_found(content: str) -> None:
    names = Names("customer-1")
    assert not names.within(content.encode())
    assert not re.search(names.pattern, content)
    assert not names.within(avro_text(content) + avro_text("next"))


def test_an_id_is_found_as_avro_has_it_whatever_follows() -> None:
    # the next text has a length of 24, which is written as the digit 0
    assert Names("customer-1").within(avro_text("customer-1") + avro_text("x" * 24))


@pytest.mark.parametrize("name", ["o'neil", "100%", "a_b", r"back\slash", 'q"uote', "a.*b", "müller (x)", "a b\nc"])
def test_odd_characters_are_themselves(name: str) -> None:
    names = Names(name)
    assert names.within(f"of {name}, twice".encode())
    assert names.within(avro_text(name))
    assert not names.within(f"of x{name}".encode())
    assert not names.within(b"of aXXb, 100 and anything else")


def test_a_payment_method_names_its_customer_too() -> None:
    names = Names("ada", ("card-7",))
    assert names.within(avro_text("card-7"))
    assert not Names("ada").within(avro_text("card-7"))


@pytest.mark.parametrize("name", ["", "a\0b", "\udcff", "x" * 1001])
def test_what_no_table_can_hold_is_refused(name: str) -> None:
    with pytest.raises(NotANameError):
        checked(name)


def test_a_digest_is_another_one_in_each_run() -> None:
    assert digest_of("ada", b"1" * 16) == digest_of("ada", b"1" * 16)
    assert digest_of("ada", b"1" * 16)["scrypt"] != digest_of("ada", b"2" * 16)["scrypt"]


def test_a_topic_without_a_retention_keeps_for_ever() -> None:
    assert Kept("dlq.audit", None).until is None
