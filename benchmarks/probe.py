"""Runs one measurement of one peer in a process of its own: `python -m benchmarks.probe MEASUREMENT PEER quick|full`.

Protocol: JSON lines. The first line out says "ready" or why not; then each line in asks for one round and is
answered with "sample" or "error"; end of input closes the executor.
"""

import importlib
import json
import os
import sys
import traceback


def _claim_stdio():
    """Keep stdin and stdout for the protocol; workers and libraries get /dev/null and stderr instead."""
    inbox, outbox = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return os.fdopen(inbox), os.fdopen(outbox, "w", buffering=1)


def _generator(measurement, peer_name, quick):
    from benchmarks import measure, peers

    peer = peers.PEERS[peer_name]
    if peer.name == "limit":
        from benchmarks import limit

        return getattr(limit, measurement)(quick)
    if peer.module:
        try:
            importlib.import_module(peer.module)
        except ImportError as error:
            raise peers.NotInstalled(f"not installed ({error})") from error
    return measure.load(measurement).measure(peer, quick)


def _version(peer_name):
    from benchmarks import peers

    module = sys.modules.get(peers.PEERS[peer_name].module)
    return getattr(module, "__version__", sys.version.split()[0])


def _failure(error):
    traceback.print_exc()
    return {"error": f"{type(error).__name__}: {error}"[:300]}


def main(measurement, peer_name, scale):
    inbox, outbox = _claim_stdio()

    def reply(message):
        print(json.dumps(message), file=outbox)

    try:
        rounds = _generator(measurement, peer_name, scale == "quick")
    except Exception as error:
        return reply(_failure(error))
    reply({"ready": True, "version": _version(peer_name)})
    for _ in inbox:
        try:
            reply({"sample": next(rounds)})
        except StopIteration:
            reply({"error": "no more rounds"})
        except Exception as error:
            reply(_failure(error))
    rounds.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
