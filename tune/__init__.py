"""Who runs what where: every verb of `sentinel-tune` has the file of its name here; the folders hold their parts."""
