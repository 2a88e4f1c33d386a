"""Makes one config of plain values out of a command line, and objects out of the config's nodes.

A config is composed once, resolved once and handed on. Keys and the engine's own values are checked
before torch is imported; the arguments of a class are checked against its signature before a run's
folder is made. A check never converts a value. `objects` alone imports and builds what a `_target_`
names.
"""
