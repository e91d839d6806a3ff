"""The switch of the faults: rules as JSON in `PUT /v1/faults`. They live in memory; a restart forgets them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from compose.sandbox.errors import BadRequestError
from compose.sandbox.faults import Rule, Target, parse_fault

MAX_RULES: Final = 100

_FIELDS: Final = ("fault", "operation", "checkout_id", "probability", "times", "seed")
_TARGETS: Final[Sequence[Target]] = get_args(Target)


def read_rules(parsed: Any, seed: int) -> list[Rule]:
    """Read a list of rules. A rule without a seed of its own gets one made of `seed` and its place in the list."""
    if not isinstance(parsed, list) or len(parsed) > MAX_RULES:
        raise BadRequestError(f"The body must be a JSON list of at most {MAX_RULES} rules.")
    return [_read_rule(rule, seed + number) for number, rule in enumerate(parsed)]


def _read_rule(rule: Any, seed: int) -> Rule:
    if not isinstance(rule, dict) or not isinstance(rule.get("fault"), str):
        raise BadRequestError("Every rule must be an object with a fault, a string.", param="fault")
    if unknown := sorted(rule.keys() - set(_FIELDS)):
        raise BadRequestError(f"Unknown field {unknown[0][:40]!r} in a rule; expected {', '.join(_FIELDS)}.")
    return Rule(
        fault=parse_fault(rule["fault"]),
        operation=_operation(rule),
        checkout_id=_checkout_id(rule),
        probability=_probability(rule),
        times=_times(rule),
        seed=_integer(rule, "seed", seed),
    )


def _operation(rule: Mapping[str, Any]) -> Target:
    wanted = rule.get("operation", "*")
    for target in _TARGETS:
        if wanted == target:
            return target
    raise BadRequestError(f"operation must be one of {', '.join(_TARGETS)}.", param="operation")


def _checkout_id(rule: Mapping[str, Any]) -> str | None:
    checkout_id = rule.get("checkout_id")
    if checkout_id is not None and not isinstance(checkout_id, str):
        raise BadRequestError("checkout_id must be a string.", param="checkout_id")
    return checkout_id


def _probability(rule: Mapping[str, Any]) -> float:
    probability = rule.get("probability", 1)
    if type(probability) not in (int, float) or not 0 <= probability <= 1:
        raise BadRequestError("probability must be a number from 0 to 1.", param="probability")
    return float(probability)


def _times(rule: Mapping[str, Any]) -> int | None:
    return None if rule.get("times") is None else _integer(rule, "times", 0)


def _integer(rule: Mapping[str, Any], name: str, default: int) -> int:
    number = rule.get(name, default)
    if type(number) is not int or number < 0:
        raise BadRequestError(f"{name} must be an integer, 0 or more.", param=name)
    return number
