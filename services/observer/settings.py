"""Settings of the observer, from environment variables. Read once, where the process starts."""

import socket
from typing import Final

from pydantic import Field, field_validator

from dlq.kafka import KafkaSettings
from dlq.registry import RegistrySettings
from services.observer.rules import Limits
from services.observer.steps import NAMES, deadlines

APP: Final = "observer"
"""What the names of its consumer group and of its own topics begin with."""
_ANY: Final = ("0.0.0.0", "::", "")  # noqa: S104 - recognised, not bound to


class ObserverSettings(KafkaSettings, RegistrySettings):
    """What one worker of the observer needs."""

    topic_prefix: str = Field("", description="Put before every topic, subject and consumer group")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    observer_web_host: str = Field("127.0.0.1", description="Where its pages listen")
    observer_web_port: int = Field(6066, ge=1, le=65535, description="Their port")
    observer_url: str = Field("", description="How other workers reach this one's pages; empty: its host and port")
    observer_version: int = Field(1, ge=1, description="Another number: another table, rebuilt from the topics")
    observer_replication: int = Field(1, ge=1, le=10, description="Replicas of its table's topic")
    observer_keep_s: float = Field(86_400.0, gt=0, description="Seconds until a checkout that has settled leaves")
    observer_elsewhere_keep_s: float = Field(
        86_400.0, gt=0, description="Seconds that the topic keeps events which one worker has passed on to another"
    )
    observer_most_checkouts: int = Field(100_000, ge=1, description="More than these: the oldest settled ones leave")
    observer_grace_s: float = Field(10.0, ge=0, description="How much later than its consequence a cause may be heard")
    observer_step_deadline_s: float = Field(360.0, gt=0, description="Seconds that a step may take")
    observer_step_deadlines: str = Field(
        "authorize=960 capture=960 release=960 undo=960", description="The same for single steps; the rest: see above"
    )
    observer_stuck_s: float = Field(960.0, gt=0, description="Seconds until an unfinished checkout counts as stuck")

    @field_validator("observer_step_deadlines")
    @classmethod
    def _readable(cls, text: str) -> str:
        _special(text)
        return text

    @property
    def url(self) -> str:
        """How other workers reach this one's pages."""
        if self.observer_url:
            return self.observer_url.rstrip("/")
        host = socket.gethostname() if self.observer_web_host in _ANY else self.observer_web_host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.observer_web_port}"

    @property
    def deadlines_us(self) -> dict[str, int]:
        """Step -> microseconds that it may take."""
        return deadlines(self.observer_step_deadline_s, _special(self.observer_step_deadlines))

    @property
    def limits(self) -> Limits:
        """What the rules are held against."""
        return Limits(
            grace_us=round(self.observer_grace_s * 1_000_000),
            deadlines_us=self.deadlines_us,
            stuck_us=round(self.observer_stuck_s * 1_000_000),
        )


def _special(text: str) -> dict[str, float]:
    """`capture=60 undo=90` as numbers. Raises ValueError, which names what is wrong."""
    parts = [part.partition("=") for part in text.replace(",", " ").split()]
    unknown = [name for name, _, _ in parts if name not in NAMES]
    if unknown:
        raise ValueError(f"no such step: {', '.join(unknown)}; steps are {', '.join(NAMES)}")
    return {name: float(seconds) for name, _, seconds in parts}
