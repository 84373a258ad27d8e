"""The only file that knows every adapter: each process of Headrace begins here."""
