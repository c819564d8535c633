"""The event log of a study, in a folder or on object storage, and its one writer."""
