"""Which rows the relay publishes also where a Debezium connector publishes the others: those of dead letters.

A connector carries the headers of a row packed into one, which readers never unpack on topics of dead letters and
replays: whoever may write a header could forge a whole letter there. So the connector leaves these rows out (the filter
in compose/debezium/outbox.properties has the same rule), the sweeper leaves them in the table, a relay publishes them.
"""

import re
from typing import Final

_RULE: Final = re.compile(r"\.(dlq|retry)\Z|(^|\.)dlq\.")
LETTERS_SQL: Final = r"topic ~ '\.(dlq|retry)$|(^|\.)dlq\.'"
"""The same, as a condition on rows of the outbox."""


def is_letter_topic(topic: str) -> bool:
    """Whether a topic, with or without a prefix, is of dead letters, of replays, or of what was done to letters."""
    return _RULE.search(topic) is not None
