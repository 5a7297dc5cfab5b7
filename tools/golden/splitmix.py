"""Numbers that the tests' C++ draws in the same order."""

MASK = (1 << 64) - 1


class SplitMix:
    """The generator splitmix64 (Steele, Lea, Flood 2014)."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def bell(self):
        """An integer, the sum of eight uniform ones of 16 bits about zero: deviation 53509."""
        total = -8 * 32768
        for _ in range(2):
            draw = self.next()
            total += sum((draw >> shift) & 0xFFFF for shift in (0, 16, 32, 48))
        return total

    def below(self, bound):
        return (self.next() >> 32) % bound

    def doublings(self, limit):
        """0, 1, 2 ... with probability 1/2, 1/4, 1/8 ..., at most limit."""
        draw, count = self.next(), 0
        while count < limit and draw & 1:
            draw, count = draw >> 1, count + 1
        return count
