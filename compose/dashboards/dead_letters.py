"""What was given up, and what is about to be."""

from typing import Final

from compose.dashboards.panel import Panel, most

PANELS: Final = (
    Panel(
        title="Unresolved letters", unit="short", stack=True, width=12,
        about="Open, being replayed, or failed again: what somebody has to do something about.",
        queries=((most("checkout_dlq_unresolved_letters", "service, state"), "{{service}} {{state}}"),),
    ),
    Panel(
        title="Arrivals, 15 minutes", unit="short", stack=True, width=12,
        about="Letters written in the last 15 minutes, by why they were given up.",
        queries=(("service_disposition:checkout_dead_letters:increase15m", "{{service}} {{disposition}}"),),
    ),
    Panel(
        title="Oldest unresolved", unit="s", alarm=86_400,
        about="Since when the oldest unresolved letter of each service has been failing; red after a day.",
        queries=((most("checkout_dlq_oldest_unresolved_age_seconds", "service"), "{{service}}"),),
    ),
    Panel(
        title="Leaving within 3 days", unit="short", kind="stat", alarm=1,
        about="Unresolved letters that retention is about to delete; 0 is well.",
        queries=((most("checkout_dlq_leaving_letters", "service"), "{{service}}"),),
    ),
    Panel(
        title="New causes", unit="short", kind="stat", alarm=1,
        about="Fingerprints of which nobody has touched a letter yet; 0 is well.",
        queries=((most("checkout_dlq_unseen_causes", "service"), "{{service}}"),),
    ),
    Panel(
        title="By cause", unit="short", kind="table", width=24, height=10,
        about="Unresolved letters by what failed; `dlq groups` has the same with ages and samples.",
        queries=((most("checkout_dlq_letters_by_cause", "service, event, reason, fingerprint"), ""),),
    ),
    Panel(
        title="Compensations that fail and are tried again", unit="short",
        about="Captures, voids, refunds and releases in the retry table: money or goods that are held meanwhile.",
        queries=((most("checkout_failed_compensations", "service, operation"), "{{service}} {{operation}}"),),
    ),
    Panel(
        title="Compensations given up, an hour", unit="short", kind="stat", alarm=1,
        about="Voids, refunds and releases that ended as letters in the last hour; each paged somebody.",
        queries=(("service_operation:checkout_failed_compensation_dead:increase1h", "{{service}} {{operation}}"),),
    ),
    Panel(
        title="Last look", unit="s", kind="stat", alarm=300,
        about="How old the figures of this page are: since the exporter has read the topics.",
        queries=(("time() - max(checkout_dlq_last_look_timestamp_seconds)", "age"),),
    ),
)  # fmt: skip
