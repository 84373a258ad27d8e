"""What the services behind the gateway share: who asks, JSON in and out, the way to the models, the process itself.

They live in one process, the runner, on one unix socket that gateways alone relay to. Each is a `Part`.
"""
