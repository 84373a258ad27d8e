"""What lengths a model's requests really have: counted by whoever serves them, read by the slow brain.

Requests fall into classes by how long their prompts are, each twice as long as the one before. Counts only ever grow,
so that nothing is lost with a report.
"""

Sizes = dict[int, tuple[int, int, int]]  # by class: requests, tokens in, tokens out


def size_class(input_tokens: int) -> int:
    """The class of a prompt: 0 for none, else one more than the whole part of its length's binary logarithm.

    >>> [size_class(tokens) for tokens in (0, 1, 255, 256, 4096)]
    [0, 1, 8, 9, 13]
    """
    return input_tokens.bit_length()


def added(parts: list[Sizes]) -> Sizes:
    """The counts of several who tell, together.

    >>> added([{9: (1, 300, 20)}, {9: (1, 400, 10), 4: (1, 10, 1)}])
    {9: (2, 700, 30), 4: (1, 10, 1)}
    """
    found: Sizes = {}
    for sizes in parts:
        for place, (requests, into, out) in sizes.items():
            before = found.get(place, (0, 0, 0))
            found[place] = (before[0] + requests, before[1] + into, before[2] + out)
    return found


def thinned(sizes: Sizes, most: int) -> Sizes:
    """The same lengths, of at most about so many requests.

    >>> thinned({9: (300, 90_000, 3_000), 4: (100, 1_000, 50)}, 40), thinned({4: (1, 10, 5)}, 40)
    ({9: (30, 9000, 300), 4: (10, 100, 5)}, {4: (1, 10, 5)})
    """
    count = sum(requests for requests, _, _ in sizes.values())
    if count <= most:
        return sizes
    found: Sizes = {}
    for place, (requests, into, out) in sizes.items():
        few = max(1, requests * most // count)
        found[place] = few, into * few // requests, out * few // requests
    return found


def since(now: Sizes, before: Sizes) -> Sizes:
    """What was counted since; all of it where who tells has begun anew.

    >>> since({9: (3, 900, 30)}, {9: (1, 300, 10)}), since({9: (1, 300, 10)}, {9: (3, 900, 30)})
    ({9: (2, 600, 20)}, {9: (1, 300, 10)})
    """
    if any(now.get(place, (0, 0, 0))[0] < counted[0] for place, counted in before.items()):
        return now
    none = (0, 0, 0)
    grown = {place: (counted, before.get(place, none)) for place, counted in now.items()}
    return {
        place: (after[0] - earlier[0], after[1] - earlier[1], after[2] - earlier[2])
        for place, (after, earlier) in grown.items()
        if after[0] > earlier[0]
    }
