"""What checkouts do and how they end."""

from typing import Final

from compose.dashboards.panel import Panel, quantile, quantiles, rate

PANELS: Final = (
    Panel(
        title="Checkouts that ended", unit="reqps", stack=True,
        about="Completed and failed checkouts a second: the business.",
        queries=((rate("checkout_outcomes_total", "outcome"), "{{outcome}}"),),
    ),
    Panel(
        title="Failures by code", unit="reqps", stack=True,
        about="Why checkouts fail; the README's catalogue says what each code means.",
        queries=((rate("checkout_outcomes_total", "code", '{outcome="failed"}'), "{{code}}"),),
    ),
    Panel(
        title="Share of failures by code, 10 minutes", unit="percentunit",
        about="What ErrorCodeSurge looks at: 2 % of our own faults page, 20 % of any other code is a ticket.",
        queries=(("code:checkout_outcomes:failed_share10m", "{{code}}"),),
    ),
    Panel(
        title="Duration", unit="s", exemplars=True, width=12,
        about="From the request to captured, failed and compensated; a dot is one checkout and leads to its trace.",
        queries=quantiles("checkout_saga_duration_seconds", "outcome", "{{outcome}}"),
    ),
    Panel(
        title="Step latency, p95, by event", unit="s", exemplars=True, width=12,
        about="From an event to the commit of the service that hears it: the slowest step stands out.",
        queries=((quantile("checkout_step_latency_seconds", 0.95, "service, event"), "{{service}} {{event}}"),),
    ),
    Panel(
        title="Transitions by state", unit="ops", stack=True, width=12,
        about="State changes a second by the state that they lead to: a flow that stops somewhere is seen here first.",
        queries=((rate("checkout_saga_transitions_total", "service, to_state"), "{{service}} {{to_state}}"),),
    ),
    Panel(
        title="Causes of failing", unit="ops", stack=True, width=12,
        about="Which events lead checkouts into failed and compensated.",
        queries=(
            (
                rate("checkout_saga_transitions_total", "to_state, reason", '{to_state=~"failed|compensated"}'),
                "{{to_state}} by {{reason}}",
            ),
        ),
    ),
    Panel(
        title="Checkouts by state", unit="short", stack=True,
        about="As the observer has seen them on the topics.",
        queries=(("sum by (state) (checkout_observer_checkouts)", "{{state}}"),),
    ),
    Panel(
        title="Stuck checkouts", unit="short", kind="stat", alarm=1,
        about="Longer in a state than their deadline allows; 0 is well.",
        queries=(("sum by (state) (checkout_observer_stuck_checkouts)", "{{state}}"),),
    ),
    Panel(
        title="Breaches of the books", unit="short", kind="stat", alarm=1,
        about="Checkouts whose events can't be true together, by the rule that they break; 0 is well.",
        queries=(("sum by (rule) (checkout_observer_breaches)", "{{rule}}"),),
    ),
)  # fmt: skip
