"""Apache Kafka: one KRaft node, broker and controller in one process."""

from __future__ import annotations

import shutil
import signal

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

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

# trades peak speed for a quick start, unless CHECKOUT_STACK_PEAK asks for the other
_QUICK_START = ("-XX:TieredStopAtLevel=1",)

_THIRTY_DAYS_H = 30 * 24
_FORMAT_LIMIT_S = 60

_PROPERTIES = f"""\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{HOST}:{{controller_port}}
listeners=PLAINTEXT://{HOST}:{{port}},CONTROLLER://{HOST}:{{controller_port}}
advertised.listeners=PLAINTEXT://{HOST}:{{port}}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
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


class Kafka:
    """The broker."""

    name = "kafka"
    ports: tuple[str, ...] = ("kafka", "kafka-controller")
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
        port, controller_port = (site.state.ports[port] for port in self.ports)
        text = _PROPERTIES.format(port=port, controller_port=controller_port, log_dir=log_dir)
        (site.data / name).write_text(text)

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
        port = site.state.ports["kafka"]
        if not accepts(port):
            return False
        # log_level 0: a refused connection is no news while the broker starts
        client = AdminClient({"bootstrap.servers": f"{HOST}:{port}", "log_level": 0})
        try:
            return bool(client.list_topics(timeout=2).brokers)
        except KafkaException:
            return False

    def settle(self, site: Site) -> None:
        """Nothing: topics are made by those who own them."""
