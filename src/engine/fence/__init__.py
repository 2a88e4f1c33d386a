"""Other libraries beyond what they document: one file a library, one function a use.

No other file touches an attribute of another library that is private or not documented. Each
function has a contract test in tests/engine/fence, which says what it relies on: where a new
version of a library breaks that, the test breaks, by name, and this is the only place to mend.
"""
