"""A proxy in front of a Cluster HAT's nodes: each is switched on with the first request that it gets, and
off when there have been none for a while."""
