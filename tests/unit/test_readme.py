"""The README's tables are those of the code."""

from compose.readme import README, updated


def test_the_tables_of_the_readme_are_those_of_the_code() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == updated(text), "run `python -m compose.readme`"
