"""The log of a study, entry by entry, in a folder or on object storage, and its one writer."""
