"""Runs the measurements and writes the report: `python -m benchmarks --help`."""

import argparse
import os
import pathlib
import platform
import subprocess
import sys
import time

from benchmarks import measure, reference, report
from benchmarks.peers import PEERS
from benchmarks.process import Probe, ProbeError
from benchmarks.results import Results

SLOW_ROUNDS = (1, 2)  # enough for those that are slower by more than any noise
FOLDER = pathlib.Path(__file__).resolve().parent / "results"


class Runner:
    """Takes the rounds of each measurement.

    Parameters
    ----------
    pythons : dict
        Interpreter of each peer; a peer that is not in it is left out.
    quick : bool
        Fewer and shorter rounds.
    log : file
        Receives what peers and their workers print.
    """

    def __init__(self, pythons, quick, log):
        self._pythons, self._quick, self._log = pythons, quick, log
        self.results = Results()

    def run(self, name):
        """One measurement with all its peers. Those that are quiet while idle stay open together and take their
        rounds in turn, so that all see the same machine; the others run alone."""
        module = measure.load(name)
        names = [peer for peer in module.PEERS if peer in self._pythons]
        together = not getattr(module, "ALONE", False)
        quiet = [peer for peer in names if together and PEERS[peer].quiet]
        for group in filter(None, [quiet, *([peer] for peer in names if peer not in quiet)]):
            self._take_turns(name, module, group)

    def _take_turns(self, name, module, peers):
        fresh, abandon = (getattr(module, flag, False) for flag in ("FRESH", "ABANDON"))
        rounds = module.ROUNDS[0 if self._quick else 1]
        if not all(PEERS[peer].quiet for peer in peers):
            rounds = min(rounds, SLOW_ROUNDS[0 if self._quick else 1])
        probes = {}
        try:
            for _ in range(rounds):
                for peer in peers:
                    column = self.results.column(name, peer)
                    if not column.error:
                        self._take_round(name, module, peer, column, probes)
                    if fresh and peer in probes:
                        probes.pop(peer).close()
        finally:
            for probe in probes.values():
                probe.close(abandon)

    def _take_round(self, name, module, peer, column, probes):
        try:
            if peer not in probes:
                probes[peer] = Probe(self._pythons[peer], name, peer, self._quick, module.TIMEOUT_S, self._log)
                column.version = probes[peer].start()
            column.samples.append(probes[peer].sample())
        except ProbeError as error:
            column.error = str(error)
            probes.pop(peer).close()


def _machine(quick):
    model = "unknown processor"
    with open("/proc/cpuinfo") as cpuinfo:
        for line in cpuinfo:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "scale": "quick" if quick else "full",
        "processor": f"{model}, {len(os.sched_getaffinity(0))} cores",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def _names(text, known):
    names = text.split(",")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown)}; known: {', '.join(known)}")
    return names


def _arguments(argv):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Benchmarks of executorlib beside others."
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, smaller sizes")
    parser.add_argument(
        "--only",
        type=lambda text: _names(text, measure.NAMES),
        default=measure.NAMES,
        metavar="NAME,…",
        help=f"measurements: {', '.join(measure.NAMES)}",
    )
    parser.add_argument(
        "--peers",
        type=lambda text: _names(text, PEERS),
        default=list(PEERS),
        metavar="NAME,…",
        help=f"peers: {', '.join(PEERS)}",
    )
    parser.add_argument("--ours", default=sys.executable, metavar="PYTHON", help="interpreter with executorlib")
    parser.add_argument(
        "--reference",
        metavar="PYTHON",
        help=f"interpreter with executorlib 1.11.0; default: ${reference.VARIABLE}, else one is installed",
    )
    parser.add_argument("--results", type=pathlib.Path, default=FOLDER, metavar="FOLDER", help="where the report goes")
    return parser.parse_args(argv)


def _pythons(arguments):
    pythons = dict.fromkeys(arguments.peers, sys.executable)
    if "ours" in pythons:
        pythons["ours"] = arguments.ours
    if "reference" in pythons:
        try:
            pythons["reference"] = reference.python(arguments.reference)
        except subprocess.CalledProcessError as error:
            print(f"without the reference: {error}", file=sys.stderr)
            del pythons["reference"]
    return pythons


def main(argv=None):
    """Run the benchmarks; returns the exit status."""
    arguments = _arguments(argv)
    machine = _machine(arguments.quick)
    arguments.results.mkdir(parents=True, exist_ok=True)
    with open(arguments.results / "latest.log", "w") as log:
        runner = Runner(_pythons(arguments), arguments.quick, log)
        for name in arguments.only:
            start = time.monotonic()
            print(f"{name} … ", end="", file=sys.stderr, flush=True)
            runner.run(name)
            print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)
    print(report.write(runner.results, machine, arguments.results))
    return 0
