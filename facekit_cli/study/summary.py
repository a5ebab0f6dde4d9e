"""Summaries of a study's answers, with confidence intervals."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import NormalDist
from typing import Any

import numpy as np

Participants = Mapping[str, Sequence[Mapping[str, Any]]]


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
    """Markdown: preferences of each pair of methods (Wilson), or mean ranks (bootstrap over participants).

    Raises:
        ValueError: there are no answers.
    """
    answers = [answer for given in participants.values() for answer in given]
    if not answers:
        raise ValueError("there are no answers yet")
    level = f"{100 * confidence:g}%"
    people = sum(bool(given) for given in participants.values())
    lines = [f"{len(answers)} answers of {people} participants.", ""]
    pairs = preferences(answers)
    if pairs:
        lines += [f"| comparison | preferred | {level} interval (Wilson) | votes |", "|---|---|---|---|"]
        for (first, second), (wins, votes) in pairs.items():
            low, high = wilson_interval(wins, votes, confidence)
            shown = f"{100 * wins / votes:.2f}% | {100 * low:.2f}% to {100 * high:.2f}% | {votes}"
            lines.append(f"| {first} over {second} | {shown} |")
        lines.append("")
    ranks = mean_ranks(participants, confidence)
    if ranks:
        lines += [f"| method | mean rank | {level} interval (bootstrap over participants) |", "|---|---|---|"]
        for method, (mean, low, high) in ranks.items():
            lines.append(f"| {method} | {mean:.2f} | {low:.2f} to {high:.2f} |")
    return "\n".join(lines).rstrip() + "\n"


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
