"""Counterparts for tests, well-behaved and hostile.

`tests.peers.node` is the service of a node that does whatever its client's query asks for. Simulated nodes
serve it with ``-o service=tests.peers.node:Peer``.
"""
