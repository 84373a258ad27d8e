"""What is so: the fleet, requests, usage, demand and events, as frozen records. No I/O, no clock."""
