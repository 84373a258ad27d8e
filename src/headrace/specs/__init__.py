"""What is wanted: the cloud file, read strictly, and the catalog it stands for. No I/O, no clock."""
