"""What a PromQL expression names. No parser, but enough for rules and panels.

Whether the grammar is right, promtool and a real server say.
"""

import re
from dataclasses import dataclass
from typing import Final

_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"' + r"|'(?:[^'\\]|\\.)*'")
_RANGE: Final = re.compile(r"\[[^\]]*\]")
_OFFSET: Final = re.compile(r"\boffset\s+\w+")
_GROUPED: Final = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR: Final = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}")
_WORD: Final = re.compile(r"(?<![\w.])[a-zA-Z_:][\w:]*(?!\w)(?!\s*\()")
_LABEL: Final = re.compile(r"[a-zA-Z_]\w*")
_OPERATORS: Final = frozenset(("and", "or", "unless", "bool", "by", "without", "on", "ignoring", "offset"))


@dataclass(frozen=True, slots=True)
class Named:
    """metrics: all of them. matched: metric -> labels asked of it. grouped: labels of by (...) and on (...)."""

    metrics: frozenset[str]
    matched: dict[str, frozenset[str]]
    grouped: frozenset[str]


def named(expr: str) -> Named:
    """The metrics and labels of an expression."""
    plain = _OFFSET.sub(" ", _RANGE.sub(" ", _STRING.sub('""', expr)))
    grouped = frozenset(label for found in _GROUPED.findall(plain) for label in _LABEL.findall(found))
    plain = _GROUPED.sub(" ", plain)
    matched: dict[str, frozenset[str]] = {}
    for metric, inside in _SELECTOR.findall(plain):
        matched[metric] = matched.get(metric, frozenset()) | frozenset(_LABEL.findall(inside))
    plain = _SELECTOR.sub(r" \1 ", plain)
    metrics = frozenset(word for word in _WORD.findall(plain) if word not in _OPERATORS)
    return Named(metrics, matched, grouped)


def labels_left(expr: str) -> frozenset[str]:
    """Labels that the results may have: those of groups, of recording rules (their names say them), of targets."""
    found = named(expr)
    of_records = {label for metric in found.metrics if ":" in metric for label in metric.split(":")[0].split("_")}
    of_targets = {"service", "instance", "job"} if "up" in found.metrics else set[str]()
    return frozenset(found.grouped | of_records | of_targets)
