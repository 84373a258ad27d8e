"""A receipt in lines a person reads; the numbers on them add up."""

from headrace.economics.receipt import Receipt
from headrace.specs.priced import dollars_each, each

_NANOUSD_PER_USD = 10**9


def receipt_lines(made: Receipt, *, admin: bool) -> list[str]:
    """Charge for everybody; cost, margin and what it would have been elsewhere for those who run the cloud."""
    found = []
    if made.charge_nanousd:
        parts = [_part(line.unit, line.amount, line.picousd_each) for line in made.lines]
        found.append(f"charge    {dollars(made.charge_nanousd)} = {' + '.join(parts)} · price {made.price}")
    if not admin:
        return found
    if made.booked and made.device_us:
        found.append(
            f"cost      {dollars(made.cost_nanousd)} = own work {dollars(made.own_nanousd)}"
            f" + share of the batch's fixed part {dollars(made.shared_nanousd)}"
            f" + idle share {dollars(made.idle_nanousd)} (so far) + cold start {dollars(made.load_nanousd)}"
        )
        found.append(f"margin    {dollars(made.margin_nanousd)} = charge - cost")
    elif not made.booked:
        found.append("cost      not booked yet: its replica's time is booked once all who shared it have ended")
    if made.failed_nanousd:
        found.append(
            f"failed    {dollars(made.failed_nanousd)} of attempts that came to nothing, borne by the operator"
        )
    if made.elsewhere:
        found.append(f"elsewhere {dollars(made.elsewhere_nanousd)} at {made.elsewhere}")
    return found


def dollars(nanousd: int) -> str:
    """Nano-dollars, all nine decimals.

    >>> dollars(1_580), dollars(-5)
    ('$0.000001580', '-$0.000000005')
    """
    whole, rest = divmod(abs(nanousd), _NANOUSD_PER_USD)
    return f"{'-' if nanousd < 0 else ''}${whole}.{rest:09}"


def _part(unit: str, amount: int, picousd_each: int) -> str:
    price = f"${dollars_each(picousd_each, unit):f} {each(unit)}"  # type: ignore[arg-type] # lines come from metering
    return f"{amount} {unit.replace('_', ' ')} x {price}"
