"""Merges intervals."""


def merge(intervals):
    """Overlapping or touching intervals become one; the result is in order."""
    merged = []
    for start, end in intervals:
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


def length(intervals):
    """How much is covered, counting nothing twice."""
    return sum(end - start for start, end in merge(intervals))
