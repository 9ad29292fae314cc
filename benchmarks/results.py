"""Samples of all rounds, and the figures drawn from them."""

import statistics
from dataclasses import asdict, dataclass, field


@dataclass
class Column:
    """One peer in one measurement: its samples, one dict of metrics per round, or why there are none."""

    samples: list = field(default_factory=list)
    version: str | None = None
    error: str | None = None


class Results:
    """All columns of a run, by measurement and peer."""

    def __init__(self):
        self._columns = {}

    def column(self, measurement, peer):
        return self._columns.setdefault((measurement, peer), Column())

    def peers(self, measurement):
        return [peer for name, peer in self._columns if name == measurement]

    def series(self, measurement, peer, metric):
        column = self._columns.get((measurement, peer), Column())
        return [sample[metric] for sample in column.samples if metric in sample]

    def value(self, measurement, peer, metric):
        """Median over the rounds, or None."""
        series = self.series(measurement, peer, metric)
        return statistics.median(series) if series else None

    def ratio(self, measurement, metric, numerator, denominator):
        """One peer's metric over another's, or None. Rounds taken in turn are compared pair by pair, since
        what disturbs a machine for a while disturbs both."""
        above = self.series(measurement, numerator, metric)
        below = self.series(measurement, denominator, metric)
        if not above or not below:
            return None
        if len(above) == len(below):
            return statistics.median(a / b for a, b in zip(above, below))
        return statistics.median(above) / statistics.median(below)

    def to_dict(self):
        nested = {}
        for (measurement, peer), column in self._columns.items():
            nested.setdefault(measurement, {})[peer] = asdict(column)
        return nested

    @classmethod
    def from_dict(cls, nested):
        results = cls()
        for measurement, peers in nested.items():
            for peer, column in peers.items():
                results._columns[measurement, peer] = Column(**column)
        return results
