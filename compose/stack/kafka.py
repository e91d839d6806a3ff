"""Apache Kafka: one KRaft node, broker and controller in one process."""

from __future__ import annotations

import shutil
import signal
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from compose.stack import certificates, users
from compose.stack.downloads import cached, jars
from compose.stack.errors import StackError
from compose.stack.java import java
from compose.stack.ports import HOST, accepts
from compose.stack.processes import Launch, base_environ, run
from compose.stack.servers import Site

VERSION = "4.4.0"

# The second is what Kafka's log goes through; it must fit the slf4j-api that Kafka asks for (1.7.x).
JARS = (f"org.apache.kafka:kafka_2.13:{VERSION}", "org.slf4j:slf4j-simple:1.7.36")

_JVM = (
    "-Xms128m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "--sun-misc-unsafe-memory-access=allow",  # its use is only warned of, at every start
    "-XX:+ExitOnOutOfMemoryError",  # a dead broker is noticed, a half-dead one isn't
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)

MECHANISM = "SCRAM-SHA-512"

# trades peak speed for a quick start, unless CHECKOUT_STACK_PEAK asks for the other
_QUICK_START = ("-XX:TieredStopAtLevel=1",)

_THIRTY_DAYS_H = 30 * 24
_FORMAT_LIMIT_S = 60

_PROPERTIES = f"""\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{HOST}:{{controller}}
controller.listener.names=CONTROLLER
{{listeners}}
# relative to the data folder, so that no character of its path needs escaping
log.dirs={{log_dir}}

# a topic is made by the one who owns it, never by a typo
auto.create.topics.enable=false
num.partitions=6
message.max.bytes=10485760
# business events, and the offsets of consumers that were off meanwhile
log.retention.hours={_THIRTY_DAYS_H}
offsets.retention.minutes={_THIRTY_DAYS_H * 60}

# one node: one copy of everything, and few partitions of what is Kafka's own
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=6
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=6
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=6
# the default of 128 MB is set aside at the start, out of a heap of 512 MB
log.cleaner.dedupe.buffer.size=16777216

# after a crash the broker is let in again only when its last session has run out
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500

# consumers join at once, and a killed one is noticed within 6 s (KIP-848: the server decides)
group.initial.rebalance.delay.ms=0
group.consumer.assignment.interval.ms=0
group.consumer.min.session.timeout.ms=4000
group.consumer.session.timeout.ms=4000
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=500
"""

_OPEN = f"""\
listeners=PLAINTEXT://{HOST}:{{client}},CONTROLLER://{HOST}:{{controller}}
advertised.listeners=PLAINTEXT://{HOST}:{{client}}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
"""

# The node talks to itself by the certificate that only it has. A password for that would have to lie in this file.
_SECURE = f"""\
listeners=CLIENTS://{HOST}:{{client}},INTERNAL://{HOST}:{{internal}},CONTROLLER://{HOST}:{{controller}}
advertised.listeners=CLIENTS://{HOST}:{{client}},INTERNAL://{HOST}:{{internal}}
listener.security.protocol.map=CLIENTS:SASL_SSL,INTERNAL:SSL,CONTROLLER:SSL
inter.broker.listener.name=INTERNAL
listener.name.internal.ssl.client.auth=required
listener.name.controller.ssl.client.auth=required
listener.name.clients.sasl.enabled.mechanisms={MECHANISM}
listener.name.clients.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={certificates.FOLDER}/kafka.pem
ssl.truststore.type=PEM
ssl.truststore.location={certificates.FOLDER}/{certificates.AUTHORITY}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:CN=kafka
"""


class Kafka:
    """The broker."""

    name = "kafka"
    ports: tuple[str, ...] = ("kafka", "kafka-controller", "kafka-internal")
    needs: tuple[str, ...] = ()
    stop_signal: int = signal.SIGTERM

    def install(self, site: Site) -> None:
        """Download the jars, unless they are cached."""
        cached(site.cache, f"kafka-{VERSION}", jars(JARS), site.echo)

    def prepare(self, site: Site) -> None:
        """Write the configuration for today's ports; format the log folder the first time."""
        self._write(site, "kafka.properties", "kafka")
        if not (site.data / "kafka").exists():
            self._format(site)

    def _write(self, site: Site, name: str, log_dir: str) -> None:
        client, controller, internal = (site.state.ports[port] for port in self.ports)
        listeners = _SECURE if site.state.secure else _OPEN
        text = listeners.format(client=client, controller=controller, internal=internal)
        (site.data / name).write_text(_PROPERTIES.format(controller=controller, log_dir=log_dir, listeners=text))

    def _format(self, site: Site) -> None:
        """Format under another name and rename: a folder that exists was formatted to the end."""
        new = site.data / "kafka.new"
        shutil.rmtree(new, ignore_errors=True)
        self._write(site, "kafka-format.properties", new.name)
        tool = ("kafka.tools.StorageTool", "format", "-t", site.state.cluster_id, "-c", "kafka-format.properties")
        done = run(self._java(site, *tool), _FORMAT_LIMIT_S)
        if done.returncode != 0:
            raise StackError(f"can't format Kafka's folder: {(done.stderr or done.stdout).strip()}")
        new.rename(site.data / "kafka")

    def _java(self, site: Site, *arguments: str) -> Launch:
        class_path = f"{site.cache / f'kafka-{VERSION}'}/*"
        quick = () if site.environ.get("CHECKOUT_STACK_PEAK") else _QUICK_START
        argv = (java(), *_JVM, *quick, "-cp", class_path, *arguments)
        return Launch(argv, base_environ(site.environ), cwd=site.data)

    def launch(self, site: Site) -> Launch:
        """Run the broker with the configuration in the data folder."""
        return self._java(site, "kafka.Kafka", "kafka.properties")

    def is_ready(self, site: Site) -> bool:
        """Ready when the broker names itself in its metadata: it listens some time before that."""
        if not accepts(site.state.ports["kafka"]):
            return False
        try:
            return bool(_admin(site).list_topics(timeout=2).brokers)
        except KafkaException:
            return False

    def settle(self, site: Site) -> None:
        """Make the users that are missing, and tell what each may. Topics are made by those who own them."""
        if site.state.secure:
            users.make(_admin(site), site.state, site.environ.get("TOPIC_PREFIX", ""))


def _admin(site: Site) -> AdminClient:
    """The broker's own login."""
    # log_level 0: a refused connection is no news while the broker starts
    quiet: dict[str, Any] = {"log_level": 0}
    if not site.state.secure:
        return AdminClient({"bootstrap.servers": f"{HOST}:{site.state.ports['kafka']}"} | quiet)
    key = str(certificates.of(site.data, "kafka"))
    return AdminClient(
        {
            "bootstrap.servers": f"{HOST}:{site.state.ports['kafka-internal']}",
            "security.protocol": "SSL",
            "ssl.ca.location": str(certificates.authority(site.data)),
            "ssl.certificate.location": key,
            "ssl.key.location": key,
        }
        | quiet
    )
