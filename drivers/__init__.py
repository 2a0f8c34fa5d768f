"""The drivers that ship with Tare, one technology a module. They are loaded by name, through entry points."""
