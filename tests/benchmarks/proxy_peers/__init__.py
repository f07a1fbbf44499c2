"""What stands on the other sides of the proxy, each a process: the load, and a relay to measure against."""
