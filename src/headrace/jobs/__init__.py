"""The durable work of clients: files, batches and asynchronous videos. Part of the runner's process."""
