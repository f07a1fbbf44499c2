"""Nodes that are computers: User-Mode Linux as processes whose life is their power.

`rack.Rack` is what runs them; the option ``nodes=rack`` puts them behind the lines of a simulated board.
``make rack`` builds what they are made of.
"""
