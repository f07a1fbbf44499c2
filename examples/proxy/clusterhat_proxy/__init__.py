"""A proxy in front of a Cluster HAT's nodes, which it switches on for requests and off when they are idle."""
