"""The admin API: an ordinary ASGI app on a private socket, reached through the gateways' public door."""
