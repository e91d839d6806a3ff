"""Text from outside, as terminals and readers of JSON get it."""

import io
import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from compose import cli as checkout
from compose.console import console as checkout_console
from dlq import cli as dlq
from dlq.console import console as dlq_console
from schemas.terminal import flat, is_plain, json_text, safe, shown

UNSHOWN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
any_text = st.text(
    st.characters(exclude_categories=[]) | st.sampled_from("\x1b\x07\x9b\x7f\u202e\u2066\u200b\ufeff\r\b[]/")
)


def hostile(text: str) -> list[str]:
    """What must not reach a terminal."""
    return [character for character in text if unicodedata.category(character) in UNSHOWN]


@given(any_text)
def test_safe_text_has_nothing_that_a_terminal_obeys(text: str) -> None:
    assert not hostile(safe(text))
    assert not hostile(flat(text))
    assert not hostile(safe(text, lines=True).replace("\n", "").replace("\t", ""))


def test_every_character_is_either_shown_or_escaped() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    assert not hostile(safe(everything))
    plain = "".join(filter(is_plain, everything))
    assert not hostile(plain)
    assert safe(plain) == plain


@pytest.mark.parametrize(
    ("text", "as_shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b2J", r"\x9b2J"),
        ("a\u202eb\u2066c", r"a\u202eb\u2066c"),
        ("\u200b\ufeff\u00ad\u034f\u115f\u3164\ufe0f", r"\u200b\ufeff\xad\u034f\u115f\u3164\ufe0f"),
        ("\U000e0041\U000e0100\U0010ffff", r"\U000e0041\U000e0100\U0010ffff"),
        ("\ud800", r"\ud800"),
        ("\u2028\u2029\x85", r"\u2028\u2029\x85"),
        ("a\nb\tc\r", r"a\x0ab\x09c\x0d"),
        ("naïve 日本語 🙂 e\u0301", "naïve 日本語 🙂 e\u0301"),
        ("[bold]:smile:", "[bold]:smile:"),
    ],
)
def test_an_escape_is_visible_and_letters_of_all_languages_stay(text: str, as_shown: str) -> None:
    assert safe(text) == as_shown


def test_lines_are_kept_only_where_that_is_asked_for() -> None:
    assert safe("a\n\tb\r", lines=True) == "a\n\tb\\x0d"
    assert flat("a\n\t b\x85c") == "a b c"


def test_a_limit_cuts_and_says_so() -> None:
    assert safe("abcdefgh", limit=6) == "abc..."
    assert safe("abcdef", limit=6) == "abcdef"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=10,
)


@given(values, st.sampled_from([None, 2]))
def test_json_reads_back_and_has_nothing_that_a_terminal_obeys(value: object, indent: int | None) -> None:
    text = json_text(value, indent=indent)
    assert not hostile(text.replace("\n", ""))
    # two halves that stand side by side are read as one character
    assert json.loads(text) == json.loads(json.dumps(value))


def test_json_keeps_letters_and_escapes_beyond_the_first_plane_in_two_halves() -> None:
    assert json_text(["é日🙂", "\U000e0041", "\x7f"]) == r'["é日🙂", "\udb40\udc41", "\u007f"]'


MARKUP = "[/] [bold red]PAID[/bold red] [link=https://evil.example]here[/link] :smile: \x1b]8;;x\x1b\\"


@pytest.mark.parametrize("make", [dlq_console, checkout_console])
@pytest.mark.parametrize("as_cell", [True, False])
def test_a_console_prints_markup_as_it_stands(make: object, as_cell: bool) -> None:
    assert callable(make)
    console: Console = make()
    console.file = out = io.StringIO()
    console._force_terminal = True
    console.width = 200
    table = Table("x")
    table.add_row(shown(MARKUP))
    console.print(table if as_cell else shown(MARKUP))
    console.print("[bold]x[/] :smile:")
    written = out.getvalue()
    for text in ("[/] [bold red]PAID[/bold red] [link=https://evil.example]here[/link] :smile:", "[bold]x[/] :smile:"):
        assert text in written
    assert "\x1b]8" not in written


HOSTILE_ARGUMENTS = (
    ("show\x1b[2J",),
    ("--\u202ewrong",),
    ("show", "a", "b\x1b]0;x\x07"),
    ("audit", "--\x9b"),
    ("list", "--limit", "\x1b[2J"),
    ("publish", "/nowhere/\x1b[31m\udcff"),
    ("import", "/nowhere/\x1b[31m\u200b"),
)


@pytest.mark.parametrize("arguments", HOSTILE_ARGUMENTS)
@pytest.mark.parametrize("run", [dlq.run, checkout.run_app])
def test_what_a_command_says_of_its_arguments_is_safe(
    run: object, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9")
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", "http://127.0.0.1:9")
    assert callable(run)
    assert run(arguments) != 0
    said = capsys.readouterr()
    assert said.err.strip()
    assert not hostile((said.out + said.err).replace("\n", ""))
