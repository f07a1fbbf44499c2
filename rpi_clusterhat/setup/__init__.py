"""Makes a machine ready for a Cluster HAT: groups, the folder of locks, udev rules, I2C.

`machine` looks at what there is, `plan` decides from that alone what is missing, `perform` does it.
"""
