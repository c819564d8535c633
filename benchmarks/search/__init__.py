"""Search quality in virtual time: the program's own decisions and its peers on the same problems and events."""
