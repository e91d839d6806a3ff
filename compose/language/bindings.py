"""How a message lies on Kafka, as AsyncAPI's Kafka bindings say it; and the operations of this application.

Source: https://github.com/asyncapi/bindings/tree/master/kafka, version 0.5.0
"""

from typing import Any, Final

from compose.settings import Servers
from schemas.registry import topic_configs

Node = dict[str, Any]
"""A part of the document."""

_VERSION: Final = {"bindingVersion": "0.5.0"}
_TOLD: Final = ("retention.ms", "max.message.bytes")

KAFKA: Final[Node] = {
    "host": "{bootstrap}",
    "protocol": "kafka",
    "description": "Kafka, and a schema registry with the Confluent API.",
    "variables": {
        "bootstrap": {
            "default": "localhost:9092",
            "description": "KAFKA_BOOTSTRAP_SERVERS; of the local stack: `checkout stack env`.",
        }
    },
    "bindings": {
        "kafka": {
            "schemaRegistryUrl": "http://localhost:8081/apis/ccompat/v7",
            "schemaRegistryVendor": "confluent",
            **_VERSION,
        }
    },
}


def partitions() -> int:
    """How many a topic has, unless TOPIC_PARTITIONS says otherwise."""
    return int(Servers.model_fields["topic_partitions"].default)


def channel_binding(topic: str) -> Node:
    """The topic as `checkout setup` makes it."""
    config = topic_configs(in_sync=1)[topic]
    return {
        "topic": topic,
        "partitions": partitions(),
        "topicConfiguration": {
            "cleanup.policy": [config["cleanup.policy"]],
            **{name: int(config[name]) for name in _TOLD},
        },
        **_VERSION,
    }


def message_binding(key: Node, *, wire_format: bool = True) -> Node:
    """key: its schema. wire_format: whether the value begins with a schema id."""
    schema_id = {
        "schemaIdLocation": "payload",
        "schemaIdPayloadEncoding": "confluent",
        "schemaLookupStrategy": "TopicNameStrategy",
    }
    return {"key": key, **(schema_id if wire_format else {}), **_VERSION}


def group_binding(group: str) -> Node:
    """The consumer group of who listens."""
    return {"groupId": {"type": "string", "enum": [group]}, **_VERSION}


def operation(action: str, channel: str, who: str, summary: str, description: str) -> Node:
    """What `who` does on a channel: `send` or `receive`."""
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "description": description,
        "tags": [{"name": who}],
    }
