"""How the services and their provider do."""

from typing import Final

from compose.dashboards.panel import Panel, most, quantiles, rate

PANELS: Final = (
    Panel(
        title="Up", unit="short", kind="stat",
        about="Processes that answer, and whether their databases and Kafka answer them: 1 is well.",
        queries=(
            ('sum by (service) (up{job=~"checkout-.*"})', "{{service}}"),
            ("min by (service) (checkout_database_up)", "{{service}} database"),
            ("min by (service) (checkout_broker_up)", "{{service}} Kafka"),
        ),
    ),
    Panel(
        title="Messages settled", unit="ops",
        about="Messages a second that each service is done with, duplicates and retries included.",
        queries=((rate("checkout_messages_handled_total", "service"), "{{service}}"),),
    ),
    Panel(
        title="Duplicates", unit="ops",
        about="Messages a second that the inbox knew already: after a restart some, otherwise hardly any.",
        queries=((rate("checkout_inbox_duplicates_total", "service"), "{{service}}"),),
    ),
    Panel(
        title="Consumer lag", unit="short",
        about="Messages not settled yet, of each service; replays apart.",
        queries=(("service:checkout_consumer_lag:sum", "{{service}}"),),
    ),
    Panel(
        title="Consumer lag by topic", unit="short",
        about="The same by topic: who is waited for; one partition alone is a long key or a stopped one.",
        queries=(
            (
                "sum by (service, topic) (max by (service, topic, partition) (checkout_consumer_lag)) > 0",
                "{{service}} {{topic}}",
            ),
        ),
    ),
    Panel(
        title="Partitions stopped", unit="short", kind="stat", alarm=1,
        about="Partitions that a service has stopped because most of their messages fail; 0 is well.",
        queries=(("sum by (service) (checkout_partitions_stopped)", "{{service}}"),),
    ),
    Panel(
        title="Outbox depth", unit="short",
        about="Events that are committed and not in Kafka yet.",
        queries=((most("checkout_outbox_depth", "service"), "{{service}}"),),
    ),
    Panel(
        title="Outbox, oldest event", unit="s", alarm=30,
        about="How long the oldest unpublished event has waited; above 30 s OutboxNotMoving pages.",
        queries=((most("checkout_outbox_oldest_age_seconds", "service"), "{{service}}"),),
    ),
    Panel(
        title="Relay: events published", unit="ops",
        about="Events a second that Kafka has acknowledged.",
        queries=((rate("checkout_outbox_published_total", "service"), "{{service}}"),),
    ),
    Panel(
        title="Relay latency", unit="s",
        about="From writing an event to Kafka's acknowledgement, of each round's oldest event.",
        queries=quantiles("checkout_relay_seconds", "service", "{{service}}"),
    ),
    Panel(
        title="Retries by class", unit="ops", stack=True,
        about="Messages a second that will be tried again, by the kind of fault: provider is one that gave no answer.",
        queries=((rate("checkout_retries_total", "service, fault"), "{{service}} {{fault}}"),),
    ),
    Panel(
        title="Retries by number of the try", unit="ops", stack=True,
        about="Many high numbers: the cause has lasted for long, and letters will follow.",
        queries=((rate("checkout_retries_total", "attempt"), "try {{attempt}}"),),
    ),
    Panel(
        title="Waiting", unit="short",
        about="Checkouts with messages in the retry table; retrying: to be tried again, parked: behind such a one.",
        queries=(
            (most("checkout_waiting_keys", "service"), "{{service}} checkouts"),
            (most("checkout_waiting_messages", "service, kind"), "{{service}} {{kind}}"),
        ),
    ),
    Panel(
        title="Circuit breakers", unit="short", kind="state-timeline",
        about="By provider operation: closed is well, open means that nobody is asked for the time being.",
        queries=((most("checkout_circuit_breaker_state", "service, operation"), "{{operation}}"),),
    ),
    Panel(
        title="Provider calls", unit="reqps", stack=True,
        about="Calls a second by operation and outcome: answered (a refusal too), timeout, error.",
        queries=(
            (rate("checkout_provider_call_seconds_count", "operation, outcome"), "{{operation}} {{outcome}}"),
        ),
    ),
    Panel(
        title="Provider latency by operation", unit="s", exemplars=True, width=12,
        about="How long the provider takes to answer, or not to; a dot is one call and leads to its trace.",
        queries=quantiles("checkout_provider_call_seconds", "operation", "{{operation}}"),
    ),
    Panel(
        title="Provider's words that we don't know", unit="short", kind="table", width=12,
        about="Decline codes that the catalogue lacks, of the last day: they became PAYMENT_DECLINED.",
        queries=(("sum by (code) (max_over_time(checkout_unmapped_provider_codes_total[1d]))", "{{code}}"),),
    ),
)  # fmt: skip
