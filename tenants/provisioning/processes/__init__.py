"""What the local driver is made of: supervisord, folders, logs, and what a kill leaves."""
