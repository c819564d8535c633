"""The nodes of a Ray cluster: joined, checked, shared out to trials, missed when they die."""
