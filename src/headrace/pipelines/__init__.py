"""Pipelines: chained and parallel calls of models, durable, capped in money and time. A process of its own."""
