"""What it costs: metering, prices, the sharing of a device's time, the ledger's entries, budgets, forecasts. Pure."""
