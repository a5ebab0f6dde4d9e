"""Summaries of a study's answers, with confidence intervals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist
from typing import Any

import numpy as np

from facekit_cli.study.questions import Kind

Participants = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Share:
    """A share of votes: `wins` of `votes`, and its interval (Wilson), `low` to `high` in [0, 1]."""

    label: str
    wins: int
    votes: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """In [0, 1]."""
        return self.wins / self.votes


def wilson_interval(wins: int, votes: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a share (Wilson 1927): wins of votes -> (low, high) in [0, 1].

    Raises:
        ValueError: no votes, more wins than votes, or a confidence outside 0 to 1.
    """
    if votes < 1 or not 0 <= wins <= votes:
        raise ValueError(f"{wins} of {votes} votes is no share")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it must lie between 0 and 1")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, scale = wins / votes, 1 + z * z / votes
    centre = (share + z * z / (2 * votes)) / scale
    reach = z * math.sqrt(share * (1 - share) / votes + z * z / (4 * votes * votes)) / scale
    return max(centre - reach, 0.0), min(centre + reach, 1.0)


def bootstrap_interval(
    groups: Sequence[Sequence[float]], confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Interval of a mean by drawing participants with replacement: one list of numbers a participant.

    Raises:
        ValueError: no numbers.
    """
    kept = [np.asarray(group, np.float64) for group in groups if len(group)]
    if not kept:
        raise ValueError("there are no answers to draw from")
    sums = np.array([group.sum() for group in kept])
    counts = np.array([len(group) for group in kept])
    chosen = np.random.default_rng(seed).integers(len(kept), size=(draws, len(kept)))
    means = sums[chosen].sum(1) / counts[chosen].sum(1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def summarise(participants: Participants, confidence: float = 0.95) -> str:
    """Markdown: preferences of each pair of methods; mean ranks (bootstrap over participants) and shares of first ranks
    (Fig. 4.10); shares of the votes for the best. Intervals of shares are Wilson's, each vote counted as independent.

    Raises:
        ValueError: there are no answers.
    """
    answers = [answer for given in participants.values() for answer in given]
    if not answers:
        raise ValueError("there are no answers yet")
    level = f"{100 * confidence:g}%"
    people = sum(bool(given) for given in participants.values())
    lines = [f"{len(answers)} answers of {people} participants.", ""]
    shares = vote_shares(answers, confidence)
    lines += _table("comparison", "preferred", shares["2afc"], level)
    ranks = mean_ranks(participants, confidence)
    if ranks:
        lines += [f"| method | mean rank | {level} interval (bootstrap over participants) |", "|---|---|---|"]
        for method, (mean, low, high) in ranks.items():
            lines.append(f"| {method} | {mean:.2f} | {low:.2f} to {high:.2f} |")
        lines.append("")
    lines += _table("method", "ranked first", shares["ranking"], level)
    lines += _table("method", "chosen as best", shares["best"], level)
    return "\n".join(lines).rstrip() + "\n"


def _table(of: str, share: str, rows: Sequence[Share], level: str) -> list[str]:
    """Lines of Markdown with an empty one behind; none without rows."""
    if not rows:
        return []
    lines = [f"| {of} | {share} | {level} interval (Wilson) | votes |", "|---|---|---|---|"]
    for row in rows:
        interval = f"{100 * row.low:.2f}% to {100 * row.high:.2f}%"
        lines.append(f"| {row.label} | {100 * row.share:.2f}% | {interval} | {row.votes} |")
    return [*lines, ""]


def vote_shares(answers: Sequence[Mapping[str, Any]], confidence: float = 0.95) -> dict[Kind, list[Share]]:
    """Shares of votes by the kind of study: of "2afc" those of `preferences`, else of `first_places`, best first."""

    def rows(counts: Mapping[str, tuple[int, int]]) -> list[Share]:
        return [Share(name, *count, *wilson_interval(*count, confidence)) for name, count in counts.items()]

    pairs = {f"{first} over {second}": count for (first, second), count in preferences(answers).items()}
    return {
        "2afc": rows(pairs),
        "ranking": rows(first_places(answers, "ranking")),
        "best": rows(first_places(answers, "best")),
    }


def first_places(answers: Sequence[Mapping[str, Any]], kind: Kind) -> dict[str, tuple[int, int]]:
    """Answers of "ranking" or "best": method -> (how often it was first, how often it was shown), best first."""
    orders = [answer["order"] for answer in answers if answer["kind"] == kind]
    methods = sorted({method for order in orders for method in order})
    shown = {method: [order[0] for order in orders if method in order] for method in methods}
    counts = {method: (firsts.count(method), len(firsts)) for method, firsts in shown.items()}
    return dict(sorted(counts.items(), key=lambda item: item[1][0] / item[1][1], reverse=True))


def preferences(answers: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], tuple[int, int]]:
    """2AFC answers: (first, second) in alphabetical order -> (votes for the first, votes)."""
    chosen = [answer["order"] for answer in answers if answer["kind"] == "2afc"]
    names = sorted({name for order in chosen for name in order})
    votes = {pair: [o[0] for o in chosen if set(o) == set(pair)] for pair in combinations(names, 2)}
    return {pair: (given.count(pair[0]), len(given)) for pair, given in votes.items() if given}


def mean_ranks(participants: Participants, confidence: float = 0.95) -> dict[str, tuple[float, float, float]]:
    """Ranking answers: method -> (mean rank from 1, low, high), best first."""
    orders = {
        name: [answer["order"] for answer in given if answer["kind"] == "ranking"]
        for name, given in participants.items()
    }
    methods = sorted({method for given in orders.values() for order in given for method in order})
    result = {}
    for method in methods:
        groups = [
            [order.index(method) + 1 for order in given if method in order] for given in orders.values()
        ]
        mean = float(np.mean([rank for group in groups for rank in group]))
        result[method] = (mean, *bootstrap_interval(groups, confidence))
    return dict(sorted(result.items(), key=lambda item: item[1][0]))
