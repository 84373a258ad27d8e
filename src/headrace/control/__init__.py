"""Shell of the slow brain: observe, plan, act; bookkeeping; the admin API. Adapters are passed in by assembly."""
