"""This system beside its peers: the same checkout, the same servers, in turns."""

from collections.abc import Callable
from contextlib import closing
from typing import Final

from compose.bench.figures import Context, Figure, data_of, in_turns, ours, where_it_goes
from compose.bench.load import Load, baskets, plain
from compose.bench.measuring import Plan, Run, summary
from compose.bench.peers.running import PEERS, Peer
from compose.bench.rig import Shape

OURS: Final = "this system"
_LOADS: Final = {"faust": 1_500, "faststream": 1_500, "dbos": 600}
_LEAST: Final = {"dbos": 50, "faust": 15}
_WANTED: Final = 2_500


def throughput(context: Context) -> list[Figure]:
    """Whole checkouts a second, everything published at once, the provider in the process."""
    kinds: dict[str, Callable[[], Run]] = {OURS: ours(context, Shape(), Plan(context.count(20_000)))}
    kinds |= {name: _peer(context, name) for name in PEERS}
    found = in_turns(context, kinds)
    rate = found[OURS].rate
    figures = [
        Figure(
            "whole checkouts a second, provider in process",
            f"≥ {_WANTED:,}/s",
            f"{rate:,.0f}/s",
            rate >= _WANTED,
            data_of(found),
        )
    ]
    for name in PEERS:
        times, least = rate / found[name].rate, _LEAST.get(name)
        wanted, good = (f"≥ {least} x", times >= least) if least else ("", None)
        figures.append(Figure(f"the same as {name}", wanted, f"{times:.0f} x its {found[name].rate:,.0f}/s", good))
    return [*figures, where_it_goes(found[OURS])]


def _peer(context: Context, name: str) -> Callable[[], Run]:
    def run() -> Run:
        bench = context.bench
        environ = {**bench.environ, "TOPIC_PREFIX": f"peer-{name}."}
        with Peer(name, context.interpreter(name), environ, bench.folder / f"peer-{name}") as peer:
            servers = bench.environ["KAFKA_BOOTSTRAP_SERVERS"]
            with closing(Load(servers, peer.requested, peer.completed)) as load:
                load.run(plain(baskets(50, seed=2)))
                peer.check()
                times = load.run(plain(baskets(context.count(_LOADS[name]), seed=1)))
                peer.check()
        return summary(times, list(times.completed))

    return run
