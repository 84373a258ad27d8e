"""The work of a request: how long one replica is busy with it, at the batch that keeps the model's promises."""

import msgspec


class WorkRate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Nanoseconds of one replica: of a request, of each input token and of each output token.

    `batch` is how many requests at once the replica has meanwhile: with more, it is too slow for each. 0 is not known.
    `home` is the same of a replica where the model lives now, if that is another kind of device than the one whose time
    work is told in.
    """

    fixed_ns: int = 0
    input_ns: int = 0
    output_ns: int = 0
    batch: int = 0
    home: "WorkRate | None" = None

    @property
    def there(self) -> "WorkRate":
        """Of a replica where the model lives."""
        return self.home or self

    def work_us(self, input_tokens: int, output_tokens: int) -> int:
        """Microseconds of one replica that a request takes; at least 1.

        >>> WorkRate(fixed_ns=500_000, input_ns=20_000, output_ns=600_000).work_us(100, 10)
        8500
        """
        return max(1, (self.fixed_ns + input_tokens * self.input_ns + output_tokens * self.output_ns) // 1000)
