"""Money as people read and write it."""

from headrace.errors import Invalid
from headrace.units import nanousd

_NANOUSD_PER_USD = 10**9


def dollars(amount_nanousd: int) -> str:
    """Short where that is enough, exact where it is little.

    >>> dollars(12_345_678_901), dollars(1_580), dollars(-20_000_000)
    ('$12.35', '$0.000001580', '-$0.0200')
    """
    sign, amount = ("-", -amount_nanousd) if amount_nanousd < 0 else ("", amount_nanousd)
    if amount >= _NANOUSD_PER_USD:
        return f"{sign}${amount / _NANOUSD_PER_USD:,.2f}"
    if amount >= _NANOUSD_PER_USD // 1000:
        return f"{sign}${amount / _NANOUSD_PER_USD:.4f}"
    whole, rest = divmod(amount, _NANOUSD_PER_USD)
    return f"{sign}${whole}.{rest:09}"


def parsed(text: str) -> int:
    """Nano-dollars of an amount that was typed. Raises Invalid.

    >>> parsed("2.5")
    2500000000
    """
    try:
        amount = nanousd(text.removeprefix("$"))
    except ValueError as error:
        raise Invalid(str(error)) from None
    if not amount:
        raise Invalid(f"{text!r} is nothing; give an amount of dollars above 0, like 2.50")
    return amount


def percent(part: int, whole: int) -> str:
    """A part of a whole.

    >>> percent(1, 8), percent(1, 0)
    ('12.5 %', '-')
    """
    return f"{100 * part / whole:.1f} %" if whole else "-"
