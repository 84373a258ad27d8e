"""The admin API, asked in process."""
