"""What pyacl claims about speed, measured by one command: ``python -m benchmarks``."""
