"""Features before trials: in this process, or shared out to the nodes of a cluster."""
